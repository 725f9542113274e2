import { afterEach, describe, expect, it } from 'vitest';
import { known, NOT_LOOKED_YET, unknown } from '../../../src/domain/observed.ts';
import { driverGoneOf } from '../../../src/engine/faults/facts.ts';
import { isOutdated, takeReading } from '../../../src/engine/reading.ts';
import { cardsOfRoster, updateRoster } from '../../../src/plan/cards/roster.ts';
import { aGpu, aReading } from '../../support/machine/builders.ts';
import { aMachine, aReadyMachine, type Machine, type MachineOptions } from '../../support/machine/machine.ts';
import { createWorld, type World } from '../../support/machine/world.ts';

/** Which card is which, over restarts of the agent and of the machine: slots, ports and folders belong to a UUID. */

let machine: Machine;
afterEach(() => machine.stop());

const ACTUAL: MachineOptions['config'] = { gpu: { mode: 'actual' } };

/** An agent that was stopped with three cards in order. */
async function afterThreeCards(): Promise<World> {
  const world = await createWorld({ gpus: [aGpu(0), aGpu(1), aGpu(2)] });
  machine = await aReadyMachine({ world, config: ACTUAL ?? {} });
  await machine.stop();
  return world;
}

/** The next agent on the same root; its cards are read as in a daemon. */
async function restarted(world: World): Promise<void> {
  machine = await aMachine({ world, config: ACTUAL ?? {} });
  await machine.start();
  machine.core.surveys.start();
  await machine.advance(15_000);
}

const rosterIn = async (world: World): Promise<string[]> => {
  const text = await world.files.readText(machine.core.knowledge.configuration.layout.state.concat('/cards.json'));
  const { cards } = JSON.parse(text ?? '{"cards":[]}') as { cards: { slot: number; uuid: string }[] };
  return cards.map(({ slot, uuid }) => `${slot} ${uuid}`);
};
const serving = (): string[] =>
  machine.core
    .documents()
    .instances.instances.filter(({ ready }) => ready)
    .map(({ gpu, uuid, port }) => `${gpu} ${uuid} ${port}`);
const reasons = (): string => machine.core.documents().health.reasons.join('\n');

describe('a card that is gone at the start of the agent', () => {
  it('keeps its slot; the others keep slot, port and process, and all is told until it is accepted', async () => {
    const world = await afterThreeCards();
    const before = [...world.running()];
    expect(await rosterIn(world)).toEqual(['0 GPU-00000000', '1 GPU-00000001', '2 GPU-00000002']);
    // Numbered anew, as nvidia-smi does.
    world.hardware.gpus([aGpu(1, { index: 0 }), aGpu(2, { index: 1 })]);
    await restarted(world);
    expect(serving()).toEqual(['1 GPU-00000001 8189', '2 GPU-00000002 8190']);
    expect([...world.running()].filter(([name]) => name !== 'comfyui-gpu0')).toEqual(before.filter(([name]) => name !== 'comfyui-gpu0'));
    const { health, ready } = machine.core.documents();
    expect(health).toMatchObject({ status: 'degraded', capacity: '2/3' });
    for (const told of [reasons(), ready.reasons.join('\n')]) {
      expect(told).toMatch(/slot 0.*GPU-00000000.*missing.*agent gpus accept/s);
    }
    expect(ready.ready).toBe(true);
    const { gpus } = await machine.core.agent.gpus();
    expect(gpus.map(({ index, state }) => `${index} ${state}`)).toEqual(['0 missing', '1 ok', '2 ok']);
    expect((await machine.core.agent.doctor()).findings.map(({ message }) => message).join('\n')).toContain('GPU-00000000');

    await machine.core.agent.acceptGpus();
    await machine.until('the new number is healthy', () => machine.core.documents().health.status === 'healthy');
    expect(machine.core.documents().health.capacity).toBe('2/2');
    expect(await rosterIn(world)).toEqual(['1 GPU-00000001', '2 GPU-00000002']);
    expect(machine.journal('cards.accepted').map(({ message }) => message)).toEqual([expect.stringContaining('GPU-00000000')]);
    // And the next agent has nothing to tell.
    await machine.stop();
    await restarted(world);
    expect(machine.core.documents().health).toMatchObject({ status: 'healthy', capacity: '2/2' });
  });

  it('has its slot back when it is back', async () => {
    const world = await afterThreeCards();
    // As after a reboot: it had no process that could be quarantined for it.
    await world.pm2.client().remove('comfyui-gpu0');
    world.hardware.gpus([aGpu(1, { index: 0 }), aGpu(2, { index: 1 })]);
    await restarted(world);
    expect(machine.instance(0).hold).toContain('GPU-00000000');
    world.hardware.gpus([aGpu(0), aGpu(1), aGpu(2)]);
    await machine.until('all serve', () => machine.core.documents().health.capacity === '3/3', 60_000);
    expect(serving()).toEqual(['0 GPU-00000000 8188', '1 GPU-00000001 8189', '2 GPU-00000002 8190']);
  });

  it('is not started without a card', async () => {
    const world = await afterThreeCards();
    await world.pm2.client().remove('comfyui-gpu0');
    const calls = world.pm2.calls.length;
    world.hardware.gpus([aGpu(1), aGpu(2)]);
    await restarted(world);
    expect(world.pm2.calls.slice(calls)).toEqual([]);
  });
});

describe('a replaced card', () => {
  it('is told as one, gets the slot when that is accepted, and none before', async () => {
    const world = await afterThreeCards();
    world.hardware.gpus([aGpu(0), { ...aGpu(1), uuid: 'GPU-new' }, aGpu(2)]);
    await restarted(world);
    expect(serving()).toEqual(['0 GPU-00000000 8188', '2 GPU-00000002 8190']);
    expect(reasons()).toMatch(/slot 1 was GPU-00000001 at 0000:01:00, now GPU-new.*agent gpus accept.*gives it the slot/);
    const { gpus } = await machine.core.agent.gpus();
    expect(gpus.find(({ uuid }) => uuid === 'GPU-new')).toMatchObject({ instance: null, note: expect.stringContaining('slot 1') });

    await machine.core.agent.acceptGpus();
    await machine.until('all serve', () => machine.core.documents().health.status === 'healthy', 60_000);
    expect(serving()).toEqual(['0 GPU-00000000 8188', '1 GPU-new 8189', '2 GPU-00000002 8190']);
  });

  it('where no card of before is there (an image of another machine): taken over, and told in the journal', async () => {
    const world = await afterThreeCards();
    world.hardware.gpus([0, 1].map((index) => aGpu(index, { uuid: `GPU-other${index}` })));
    await restarted(world);
    await machine.until('all serve', () => machine.core.documents().health.status === 'healthy', 60_000);
    expect(serving()).toEqual(['0 GPU-other0 8188', '1 GPU-other1 8189']);
    expect(machine.journal('cards.other').map(({ message }) => message)).toEqual([expect.stringContaining('GPU-00000002')]);
  });
});

describe('the roster', () => {
  it('is set aside when it is damaged', async () => {
    const world = await afterThreeCards();
    const file = `${machine.core.knowledge.configuration.layout.state}/cards.json`;
    await world.files.writeText(file, '{"schema":1,"cards":[{"slot":0,"uuid":"GPU-a"},{"slot":0,"uuid":"GPU-b"}]}');
    await restarted(world);
    expect(machine.core.documents().health).toMatchObject({ capacity: '3/3', reasons: [expect.stringContaining(`${file}.damaged`)] });
    expect(await world.files.exists(`${file}.damaged`)).toBe(true);
    expect(await rosterIn(world)).toHaveLength(3);
  });

  it('lets an agent whose driver does not answer tell of what runs, and start nothing', async () => {
    const world = await afterThreeCards();
    await world.pm2.client().remove('comfyui-gpu1');
    world.hardware.fail('nvidia-smi did not answer within 5000 ms');
    const before = [...world.running()];
    await restarted(world);
    expect(serving()).toEqual(['0 GPU-00000000 8188', '2 GPU-00000002 8190']);
    expect([...world.running()]).toEqual(before);
    expect(machine.instance(1).hold).toContain('did not answer');
    expect((await machine.core.agent.acceptGpus().catch((error: Error) => error.message)).toString()).toContain('did not answer');
  });

  it('a look that was begun before the first reading is not acted on', async () => {
    const world = await afterThreeCards();
    machine = await aMachine({ world, config: ACTUAL ?? {} });
    const { knowledge } = machine.core;
    const then = takeReading(knowledge);
    const before = cardsOfRoster(knowledge.roster, unknown('none'));
    expect(isOutdated({ ...then, cards: before }, then)).toBe(true);
    const { cards } = updateRoster(before, aReading(aGpu(0), aGpu(1)));
    expect(isOutdated(then, { ...then, cards: known(cards) })).toBe(true);
    expect(isOutdated(then, { ...then, cards: known(aReading(aGpu(0, { temperatureC: 99 }), aGpu(1), aGpu(2))) })).toBe(false);
    expect(driverGoneOf({ ...knowledge, cards: before, gpus: unknown(NOT_LOOKED_YET) })).toMatchObject({ unread: true });
  });

  it('is not forgotten by a time with mock cards', async () => {
    const world = await afterThreeCards();
    machine = await aReadyMachine({ world, config: { gpu: { mode: 'mock', mockCount: 1 } } });
    await machine.stop();
    world.hardware.gpus([aGpu(1, { index: 0 }), aGpu(2, { index: 1 })]);
    await restarted(world);
    expect(machine.core.documents().health.capacity).toBe('2/3');
  });
});
