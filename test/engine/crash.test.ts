import { describe, expect, it } from 'vitest';
import type { ActionKind } from '../../src/domain/action.ts';
import type { ConfigInput } from '../../src/domain/configuration/config.ts';
import { aGpu } from '../support/machine/builders.ts';
import { aMachine, aReadyMachine, type Machine } from '../support/machine/machine.ts';
import { killedAndReplaced } from '../support/machine/successor.ts';
import type { OuterCall } from '../support/machine/wires.ts';
import { createWorld, type World } from '../support/machine/world.ts';

/** Everything at once: nothing doubled, nothing half done, nothing left over. */
async function expectWhole(machine: Machine, gpus = [0, 1]): Promise<void> {
  const { files, kernel } = machine.world;
  const running = machine.world.running();
  expect([...running.keys()].sort()).toEqual(gpus.map((gpu) => `comfyui-gpu${gpu}`));
  expect(new Set([...running.values()].map((process) => process.tcpPort)).size).toBe(gpus.length);
  for (const name of running.keys()) expect(await kernel.kernel.withEnvironment('AGENT_INSTANCE', name), name).toHaveLength(1);
  const current = await files.readLink('/workspace/current');
  for (const name of await files.list('/workspace/releases'))
    expect(await files.exists(`/workspace/releases/${name}/release.json`), name).toBe(true);
  expect(await files.exists(`${current}/release.json`)).toBe(true);
  expect(await files.exists('/workspace/instances/.trial')).toBe(false);
  expect(machine.core.reconciler.planned.actions).toEqual([]);
}

describe('an agent that is killed', () => {
  it('at any change on the way from a bare root to ready: the next one finishes the work', async () => {
    const rehearsal = await aReadyMachine();
    const changes = rehearsal.wires.changes.length;
    await rehearsal.stop();
    expect(changes).toBeGreaterThan(30);
    for (let index = 0; index < changes; index++) {
      for (const when of ['before', 'after'] as const) {
        const machine = await aMachine();
        const { successor, call } = await killedAndReplaced(
          machine,
          (_, each) => each === index,
          when,
          () => machine.start(),
        );
        await successor.until(`all is well after a cut ${when} ${call?.name} ${call?.subject}`, successor.isReady, 60_000);
        await successor.advance(3_000);
        await expectWhole(successor);
        await successor.stop();
      }
    }
  });

  interface Case {
    readonly kind: ActionKind;
    /** Calls of the action where it is cut, each before and after. */
    readonly calls: readonly [name: string, subject: RegExp, when?: 'after'][];
    readonly world?: () => Promise<World>;
    readonly config?: ConfigInput;
    /** Of the next agent; absent: the same. */
    readonly later?: ConfigInput;
    /** What comes before the cut is armed. */
    readonly prepare?: (machine: Machine) => Promise<unknown>;
    readonly provoke: (machine: Machine) => Promise<unknown>;
    /** Instances that must be ready in the end. */
    readonly ready: readonly number[];
    readonly check?: (successor: Machine) => void | Promise<void>;
  }

  const isBuilding = ({ core }: Machine) => core.operations.running('installation') !== null;
  const restart = (machine: Machine) => machine.core.agent.startOperation({ kind: 'restart', gpus: [0] });
  const twoCards = () => createWorld({ gpus: [aGpu(0), aGpu(1)] });
  const cases: readonly Case[] = [
    {
      kind: 'restart-instance',
      calls: [
        ['processes.start', /gpu0$/],
        ['files.link', /instances\/gpu0/],
        ['files.writeText', /intents\.json/],
      ],
      provoke: restart,
      ready: [0, 1],
    },
    {
      kind: 'start-instance',
      calls: [
        ['files.ensureDirectory', /gpu0\/temp/],
        ['processes.start', /gpu0$/],
      ],
      provoke: async ({ world }) => {
        const { processes } = world.ports();
        await processes.connect();
        await processes.remove('comfyui-gpu0');
      },
      ready: [0, 1],
    },
    {
      kind: 'stop-instance',
      calls: [
        // Before it the wish is nowhere written down, and nobody was told that it is.
        ['files.writeText', /intents\.json/, 'after'],
        ['processes.stop', /gpu0$/],
      ],
      provoke: (machine) => machine.core.agent.patchInstance('0', { desired: 'stopped' }),
      ready: [1],
      check: (successor) => expect(successor.instance(0).status).toBe('stopped'),
    },
    {
      kind: 'remove-process',
      calls: [['processes.remove', /gpu1$/]],
      world: twoCards,
      config: { gpu: { mode: 'actual' } },
      later: { gpu: { mode: 'actual', count: 1 } },
      // A card that is only gone keeps its instance: this one is given up by configuration, and out of the machine after that.
      provoke: (machine) => {
        const { knowledge } = machine.core;
        const config = { ...knowledge.configuration.config, gpu: { ...knowledge.configuration.config.gpu, count: 1 } };
        knowledge.configuration = { ...knowledge.configuration, config };
        machine.world.hardware.gpus([aGpu(0)]);
        return machine.core.reconciler.trigger();
      },
      ready: [0],
    },
    {
      kind: 'quarantine-instance',
      calls: [
        ['files.writeText', /intents\.json/],
        ['processes.stop', /gpu0$/],
      ],
      config: { health: { maxRestartsInWindow: 2 } },
      provoke: async ({ world }) => {
        for (let crashes = 0; crashes < 3; crashes++) {
          world.pm2.exit('comfyui-gpu0');
          world.pm2.respawn('comfyui-gpu0');
        }
      },
      ready: [1],
      check: async (successor) => {
        await successor.until('it is quarantined', () => successor.instance(0).status === 'quarantined', 10_000);
        expect(successor.instance(0).hold).toContain('ended 3 times');
      },
    },
    {
      kind: 'lease-port',
      calls: [['files.writeText', /leases\.json/]],
      config: { ports: { onConflict: 'next' } },
      prepare: async (machine) => {
        await machine.core.agent.patchInstance('0', { desired: 'stopped' });
        await machine.advance(1_000);
        machine.world.kernel.add({ pid: 900, command: 'nginx', listens: [8188] });
      },
      provoke: (machine) => machine.core.agent.patchInstance('0', { desired: 'running' }),
      ready: [0, 1],
      check: (successor) => expect(successor.instance(0).port).not.toBe(8188),
    },
    {
      kind: 'install',
      calls: [
        ['files.copyTree', /assets\/simulator/],
        ['shell.spawn', /python$/],
        ['files.writeText', /release\.json/],
        ['files.link', /releases\/[^/]+$/],
      ],
      provoke: (machine) => machine.core.agent.startOperation({ kind: 'reinstall' }),
      ready: [0, 1],
      // It goes on with what was asked for; a release that was whole but not yet in use stays beside.
      check: async (successor) => {
        await successor.until('all is well with it', () => successor.isReady() && !isBuilding(successor));
        const releases = (await successor.world.files.list('/workspace/releases')).toSorted();
        expect(releases.length).toBeGreaterThan(1);
        expect(await successor.world.files.readLink('/workspace/current')).toBe(`/workspace/releases/${releases.at(-1)}`);
      },
    },
  ];

  for (const { kind, calls, world, config = {}, later = config, prepare, provoke, ready, check } of cases) {
    for (const [name, subject, only] of calls) {
      for (const when of only === undefined ? (['before', 'after'] as const) : [only]) {
        it(`in ${kind}, ${when} ${name} ${subject.source}`, async () => {
          const machine = await aReadyMachine({ config, ...(world === undefined ? {} : { world: await world() }) });
          await prepare?.(machine);
          const matches = (call: OuterCall) => call.name === name && subject.test(call.subject);
          const { successor, call } = await killedAndReplaced(machine, matches, when, () => provoke(machine), later);
          expect(call).not.toBeNull();
          await successor.until('all is well again', () => ready.every((gpu) => successor.instance(gpu).ready), 60_000);
          await successor.advance(5_000);
          await check?.(successor);
          await expectWhole(successor, [...ready]);
          await successor.stop();
        });
      }
    }
  }

  it('after a start that it did not live to see: the process is found and not started again', async () => {
    const machine = await aMachine();
    const { successor } = await killedAndReplaced(
      machine,
      (call) => call.name === 'processes.start' && call.subject === 'comfyui-gpu0',
      'after',
      () => machine.start(),
    );
    await successor.until('all is well', successor.isReady);
    expect(successor.world.pm2.calls.filter((call) => call === 'start comfyui-gpu0')).toHaveLength(1);
    await successor.stop();
  });

  it('while its instances run: the next one finds them ready without touching them', async () => {
    const machine = await aReadyMachine();
    machine.wires.cut();
    const before = machine.world.running();
    const pids = [...before.values()].map((process) => process.pid);
    const successor = await aMachine({ world: machine.world });
    await successor.start();
    await successor.until('all is well', successor.isReady, 5_000);
    expect([...successor.world.running().values()].map((process) => process.pid)).toEqual(pids);
    expect(successor.world.pm2.calls).toHaveLength(2);
    await successor.stop();
  });

  it('in the middle of writing its state: a damaged file is set aside, and told', async () => {
    const machine = await aReadyMachine();
    machine.wires.cut();
    const { files } = machine.world;
    files.put('/workspace/state/leases.json', '{"schema":1,"leases":[{"gpu":');
    const successor = await aMachine({ world: machine.world });
    await successor.start();
    await successor.until('both serve', () => [0, 1].every((gpu) => successor.instance(gpu).ready), 20_000);
    expect(successor.core.documents().health.reasons.join()).toContain('/workspace/state/leases.json.damaged');
    expect(await files.readText('/workspace/state/leases.json.damaged')).toContain('"gpu":');
    expect(successor.journal('state.damaged')).toHaveLength(1);
    expect(successor.world.pm2.calls.filter((call) => call.startsWith('start'))).toHaveLength(2);
    await successor.stop();
  });
});
