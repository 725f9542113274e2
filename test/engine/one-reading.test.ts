import { afterEach, describe, expect, it } from 'vitest';
import { NOT_LOOKED_YET, unknown } from '../../src/domain/observed.ts';
import { aGpu } from '../support/machine/builders.ts';
import { aMachine, aReadyMachine, type Machine } from '../support/machine/machine.ts';
import { createWorld, urlOf, type World } from '../support/machine/world.ts';

/** What is wanted and what is seen are of one moment: an agent that starts beside instances that serve takes none of them away. */

let machine: Machine;
afterEach(() => machine.stop());

const CARDS = { gpu: { mode: 'actual' as const } };
const removals = ({ world }: Machine): readonly string[] => world.pm2.calls.filter((call) => /^(remove|stop)/.test(call));

/** The next agent on a machine whose instances serve; it has not read the cards yet. */
async function aSuccessor(world: World): Promise<Machine> {
  const next = await aMachine({ world, config: CARDS });
  Object.assign(next.core.knowledge, { gpus: unknown(NOT_LOOKED_YET), cards: unknown(NOT_LOOKED_YET), gpusAskedAt: 0 });
  return next;
}

async function servingCards(count: number): Promise<World> {
  const world = await createWorld({ gpus: Array.from({ length: count }, (_, index) => aGpu(index)) });
  const first = await aReadyMachine({ world, config: CARDS });
  await first.stop();
  return world;
}

describe('an agent that starts beside instances that serve', () => {
  it('keeps them when the cards are read while a look is under way', async () => {
    const world = await servingCards(2);
    const before = [...world.running()];
    machine = await aSuccessor(world);
    const held = machine.wires.hold('processes.list');
    await machine.start();
    expect(held.waiting).toBe(1);
    await machine.core.surveys.gpus();
    held.open();
    await machine.until('both are ready', machine.isReady);
    await machine.advance(30_000);
    expect([...world.running()]).toEqual(before);
    expect(removals(machine)).toEqual([]);
  });

  it.each<[string, (world: World) => void]>([
    ['lists no card', ({ hardware }) => hardware.gpus([])],
    ['is not there', ({ hardware }) => hardware.gpus(null)],
    ['tells nothing', ({ hardware }) => hardware.fail('it does not answer')],
  ])('keeps them while the driver %s', async (_, break_) => {
    const world = await servingCards(2);
    const before = [...world.running()];
    break_(world);
    machine = await aSuccessor(world);
    await machine.start();
    machine.core.surveys.start();
    await machine.advance(60_000);
    expect([...world.running()]).toEqual(before);
    world.hardware.gpus([aGpu(0), aGpu(1)]);
    await machine.until('both are ready', machine.isReady);
    expect([...world.running()]).toEqual(before);
    expect(removals(machine)).toEqual([]);
  });
});

describe('a wish that changes while a look is under way', () => {
  it.each<[string, (machine: Machine) => Promise<unknown>, (machine: Machine) => Promise<unknown>]>([
    [
      'an uncordon ends a drain',
      (it) => it.core.agent.patchInstance('0', { drain: true }),
      (it) => it.core.agent.patchInstance('0', { drain: false }),
    ],
    [
      'a start ends a stop',
      (it) => it.core.agent.patchInstance('0', { desired: 'stopped' }),
      (it) => it.core.agent.patchInstance('0', { desired: 'running' }),
    ],
  ])('is the one that is obeyed: %s', async (_, before, after) => {
    machine = await aReadyMachine();
    const running = [...machine.world.running()];
    const held = machine.wires.hold('processes.list');
    const first = before(machine);
    await machine.advance(0);
    expect(held.waiting).toBe(1);
    const second = after(machine);
    await machine.advance(0);
    held.open();
    await Promise.all([first, second]);
    await machine.advance(10_000);
    expect([...machine.world.running()]).toEqual(running);
    expect(removals(machine)).toEqual([]);
  });
});

describe('an instance that is given up by configuration', () => {
  const giveUp = (): void => {
    const { knowledge } = machine.core;
    const { config } = knowledge.configuration;
    knowledge.configuration = { ...knowledge.configuration, config: { ...config, gpu: { ...config.gpu, count: 1 } }, generation: 2 };
  };

  it('goes after its jobs, and the reason names the setting', async () => {
    const world = await createWorld({ gpus: [aGpu(0), aGpu(1)] });
    machine = await aReadyMachine({ world, config: CARDS });
    const { running } = world.comfy.serve(urlOf(8189));
    running.push('a job');
    giveUp();
    await machine.step();
    await machine.advance(10_000);
    expect(machine.core.documents().health.holds).toMatchObject([
      { target: 'process comfyui-gpu1', code: 'DRAINING', reason: expect.stringContaining('it is removed after 1 job') },
    ]);
    expect([...world.running().keys()]).toContain('comfyui-gpu1');
    running.pop();
    await machine.advance(5_000);
    expect([...world.running().keys()]).toEqual(['comfyui-gpu0']);
    expect(machine.journal('action.remove-process')).toMatchObject([
      { message: 'remove process: 1 of 2 cards are asked for (NUM_GPUS, gpu.count)' },
    ]);
  });

  it('stays when the setting is taken back in between', async () => {
    const world = await createWorld({ gpus: [aGpu(0), aGpu(1)] });
    machine = await aReadyMachine({ world, config: CARDS });
    const before = machine.core.knowledge.configuration;
    giveUp();
    await machine.step();
    machine.core.knowledge.configuration = { ...before, generation: 3 };
    await machine.advance(30_000);
    expect([...world.running().keys()]).toEqual(['comfyui-gpu0', 'comfyui-gpu1']);
  });
});
