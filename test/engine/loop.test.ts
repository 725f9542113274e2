import { afterEach, describe, expect, it } from 'vitest';
import { AgentError } from '../../src/domain/errors/errors.ts';
import { aGpu, aProcess, at } from '../support/machine/builders.ts';
import { aMachine, aReadyMachine, type Machine } from '../support/machine/machine.ts';
import { createWorld, urlOf } from '../support/machine/world.ts';

let machine: Machine;
afterEach(async () => {
  await machine.stop();
});

const refused = () => new AgentError('PM2_UNAVAILABLE', 'the PM2 daemon does not answer');
const starts = ({ world }: Machine) => world.pm2.calls.filter((call) => call.startsWith('start'));

describe('the loop', () => {
  it('brings a bare root to two ready instances, in the order of dependence', async () => {
    machine = await aMachine();
    await machine.start();
    await machine.until('the machine is healthy', machine.isReady);
    const order = machine.events().filter((event) => /install\.(begin|done)|action\.|instance\.ready/.test(event));
    expect(order).toEqual([
      'instance 0: action.lease-port',
      'instance 1: action.lease-port',
      'installation: install.begin',
      'installation: install.done',
      'instance 0: action.start-instance',
      'instance 1: action.start-instance',
      'instance 0: instance.ready',
      'instance 1: instance.ready',
    ]);
    expect(machine.core.knowledge.leases.map((lease) => [lease.gpu, lease.tcpPort])).toEqual([
      [0, 8188],
      [1, 8189],
    ]);
    const { layers } = machine.instance(1);
    expect(Object.values(layers).map((layer) => layer.status)).toEqual(['pass', 'pass', 'pass', 'pass']);
    expect(machine.core.documents().ready).toEqual({ ready: true, capacity: '2/2', reasons: [] });
    expect(machine.core.reconciler.planned).toEqual({ actions: [], holds: [], leaving: new Map(), strangers: new Map() });
  });

  it('only plans until it is started', async () => {
    machine = await aMachine();
    await machine.step();
    expect(machine.core.reconciler.planned.actions.map((action) => action.kind)).toEqual(['install', 'lease-port', 'lease-port']);
    await machine.advance(10_000);
    expect(machine.events('action')).toEqual([]);
    expect(await machine.world.files.readLink('/workspace/current')).toBeNull();
  });

  it('calls an instance ready soon after it serves, and not before', async () => {
    machine = await aReadyMachine();
    machine.world.boot = 'silent';
    machine.world.pm2.exit('comfyui-gpu0');
    await machine.advance(5_000);
    expect(machine.instance(0)).toMatchObject({ status: 'starting', ready: false, layers: { runtime: { status: 'fail' } } });
    const { tcpPort, pid } = machine.world.running().get('comfyui-gpu0') ?? { tcpPort: 0, pid: 0 };
    machine.world.kernel.listen(pid, [tcpPort]);
    machine.world.comfy.serve(urlOf(tcpPort));
    await machine.advance(400);
    expect(machine.instance(0)).toMatchObject({ status: 'healthy', ready: true });
  });

  it('looks again by itself: what it was not told of it still sees', async () => {
    machine = await aReadyMachine();
    const { processes } = machine.world.ports();
    await processes.connect();
    await processes.remove('comfyui-gpu1');
    await machine.until('it is back', machine.isReady, 10_000);
    expect(starts(machine)).toEqual(['start comfyui-gpu0', 'start comfyui-gpu1', 'start comfyui-gpu1']);
  });

  it('never takes a process that it is just starting for a stranger on its port', async () => {
    machine = await aReadyMachine({ config: { ports: { onConflict: 'next' } } });
    expect(machine.events('action.lease-port')).toHaveLength(2);
    expect([...machine.world.running().values()].map((process) => process.tcpPort)).toEqual([8188, 8189]);
    expect(starts(machine)).toHaveLength(2);
  });

  it('goes on after a turn that failed', async () => {
    machine = await aReadyMachine();
    const heal = machine.wires.fail('kernel.tree', new Error('broken'));
    const stop = machine.wires.fail('hardware.gpus', new Error('broken'));
    machine.core.knowledge.gpus = { known: true, value: { present: true, gpus: [aGpu(0, { processes: [aStranger] })] } };
    await machine.step();
    heal();
    stop();
    machine.world.pm2.exit('comfyui-gpu0');
    await machine.until('it is back', machine.isReady, 10_000);
  });

  describe('single flight', () => {
    it('a trigger during a turn gives one more turn, however many there were', async () => {
      machine = await aReadyMachine();
      const before = machine.wires.count('processes.list');
      const held = machine.wires.hold('processes.list');
      const first = machine.core.reconciler.trigger();
      const others = [machine.core.reconciler.trigger(), machine.core.reconciler.trigger(), machine.core.reconciler.trigger()];
      await machine.world.clock.settle();
      expect(machine.wires.count('processes.list') - before).toBe(1);
      held.open();
      await Promise.all([first, ...others]);
      expect(machine.wires.count('processes.list') - before).toBe(2);
    });

    it('the promise of a trigger ends only when its own turn has seen the world', async () => {
      machine = await aReadyMachine();
      const held = machine.wires.hold('processes.list');
      void machine.core.reconciler.trigger();
      await machine.world.clock.settle();
      void machine.core.state.change((intents) => ({ ...intents, instances: { '0': { ...stopped } } }));
      await machine.world.clock.settle();
      const later = machine.core.reconciler.trigger();
      held.open();
      await later;
      expect(machine.core.knowledge.desired?.instances[0]?.desired).toBe('stopped');
    });
  });

  describe('lanes', () => {
    it('a long installation does not delay the restart of an instance', async () => {
      machine = await aReadyMachine();
      const held = machine.wires.hold('python.create');
      await machine.core.agent.startOperation({ kind: 'reinstall' });
      await machine.world.clock.settle();
      expect(held.waiting).toBe(1);
      machine.world.pm2.exit('comfyui-gpu1');
      await machine.until('it is ready again', () => machine.instance(1).ready, 10_000);
      expect(machine.core.operations.running('installation')).not.toBeNull();
      held.open();
      await machine.world.clock.settle();
    });

    it('a slow start of one instance delays no other', async () => {
      machine = await aMachine();
      const held = machine.wires.hold('processes.start', 'comfyui-gpu0');
      await machine.start();
      await machine.until('the other is ready', () => machine.instance(1).ready);
      expect(machine.instance(0).ready).toBe(false);
      held.open();
      await machine.until('both are', machine.isReady);
    });

    it('two actions of one instance never overlap', async () => {
      machine = await aReadyMachine();
      const held = machine.wires.hold('processes.stop', 'comfyui-gpu0');
      await machine.core.agent.patchInstance('0', { desired: 'stopped' });
      await machine.world.clock.settle();
      expect(held.waiting).toBe(1);
      await machine.core.agent.patchInstance('0', { desired: 'running' });
      await machine.advance(10_000);
      expect(held.waiting).toBe(1);
      expect(starts(machine)).toHaveLength(2);
      held.open();
      await machine.world.clock.settle();
      await machine.until('it is ready again', machine.isReady, 10_000);
      expect(machine.world.pm2.calls.slice(2)).toEqual(['stop comfyui-gpu0', 'start comfyui-gpu0']);
    });

    it('what PM2 lists twice under one name is removed once, and then the other: never both at once', async () => {
      const world = await createWorld();
      const [first, second] = [aProcess(7, { pid: 5_900_001 }), aProcess(7, { pid: 5_900_002 })];
      let doubles = [first, second];
      const ports = () => {
        const real = world.ports();
        const list = async () => [...(await real.processes.list()), ...doubles];
        const remove = async () => {
          doubles = doubles.slice(1);
        };
        return { ...real, processes: { ...real.processes, list, remove } };
      };
      machine = await aMachine({ world: { ...world, ports } });
      const held = machine.wires.hold('processes.remove', 'comfyui-gpu7');
      await machine.start();
      await machine.advance(10_000);
      const atOnce = held.waiting;
      held.open();
      expect(atOnce).toBe(1);
      await machine.until('both are gone', () => doubles.length === 0);
      expect(machine.wires.count('processes.remove')).toBe(2);
      expect(machine.events('action.remove-process')).toHaveLength(2);
    });
  });

  describe('failing actions', () => {
    it('are told, and tried again later, not at once', async () => {
      machine = await aMachine();
      const heal = machine.wires.fail('processes.start', refused(), 'comfyui-gpu0');
      await machine.start();
      await machine.until('the other is ready', () => machine.instance(1).ready);
      const tries = () => machine.journal('action.start-instance').filter((event) => event.target === 'instance 0').length;
      const first = tries();
      await machine.advance(1_500);
      expect(tries()).toBe(first);
      await machine.advance(1_000);
      expect(tries()).toBe(first + 1);
      expect(machine.journal('action.failed')[0]).toMatchObject({
        target: 'instance 0',
        level: 'warn',
        message: 'start-instance failed: the PM2 daemon does not answer [PM2_UNAVAILABLE]',
      });
      heal();
      await machine.until('it is ready', machine.isReady, 10_000);
    });
  });

  describe('a process that ends', () => {
    it('is not ready any more before anybody looks', async () => {
      machine = await aReadyMachine();
      const held = machine.wires.hold('processes.list');
      machine.world.pm2.exit('comfyui-gpu0', { signal: 'SIGKILL' });
      expect(machine.instance(0)).toMatchObject({ ready: false, pid: null, restarts: { total: 1, lastReason: 'exit signal SIGKILL' } });
      expect(machine.core.documents().discovery.instances.map((instance) => instance.ready)).toEqual([false, true]);
      held.open();
      await machine.world.clock.settle();
      expect(machine.journal('instance.exit').at(-1)).toMatchObject({ level: 'warn', message: 'ended by itself: exit signal SIGKILL' });
      await machine.until('it is ready again', machine.isReady, 10_000);
    });

    it('is not called ready again by a look that began before', async () => {
      machine = await aReadyMachine();
      machine.world.boot = 'silent';
      machine.world.pm2.exit('comfyui-gpu1');
      // A look with an instance away asks for the holders of ports last, after the processes.
      const held = machine.wires.hold('kernel.portHolders');
      void machine.core.reconciler.trigger();
      await machine.world.clock.settle();
      expect(held.waiting).toBe(1);
      machine.world.pm2.exit('comfyui-gpu0');
      const seen: boolean[] = [];
      const abort = new AbortController();
      const watching = (async () => {
        for await (const { discovery } of machine.core.changes(abort.signal)) seen.push(discovery.instances[0]?.ready ?? false);
      })();
      await machine.world.clock.settle();
      held.open();
      await machine.world.clock.settle();
      abort.abort();
      await watching;
      expect(seen).not.toContain(true);
    });

    it('was wanted when an action of the agent ended it, and then counts for nothing', async () => {
      machine = await aReadyMachine();
      await machine.finished(await machine.core.agent.startOperation({ kind: 'restart', gpus: [0] }));
      expect(machine.instance(0).restarts).toEqual({ total: 0, inWindow: 0, lastReason: null });
      expect(machine.journal('instance.exit').at(-1)).toMatchObject({ level: 'info', data: { wanted: true } });
    });

    it('too often is stopped and held, and only a start by hand ends that', async () => {
      machine = await aReadyMachine({ config: { health: { maxRestartsInWindow: 3 } } });
      for (let crashes = 0; crashes < 4; crashes++) {
        machine.world.pm2.exit('comfyui-gpu0', { exitCode: 1 });
        await machine.advance(300);
      }
      await machine.until('it is quarantined', () => machine.instance(0).status === 'quarantined', 5_000);
      await machine.advance(60_000);
      expect(machine.world.running().has('comfyui-gpu0')).toBe(false);
      expect(machine.instance(0).hold).toContain('ended 4 times in 10 minutes, last: exit code 1');
      expect(machine.instance(1).ready).toBe(true);
    });
  });

  describe('holds', () => {
    it('are written down once when they begin and once when they end, and keep their beginning', async () => {
      const world = await createWorld();
      world.kernel.add({ pid: 900, command: 'nginx', listens: [8189] });
      machine = await aMachine({ world });
      await machine.start();
      await machine.until('the other is ready', () => machine.instance(0).ready);
      const portHolds = (type: string) => machine.journal(type).filter((event) => event.data['code'] === 'PORT_HELD');
      const [hold] = machine.core.documents().health.holds.filter((each) => each.code === 'PORT_HELD');
      expect(hold).toMatchObject({ target: 'instance 1', reason: 'port 8189 is held by pid 900 (nginx)', since: at(0) });
      await machine.advance(60_000);
      expect(machine.core.documents().health.holds.find((each) => each.code === 'PORT_HELD')?.since).toBe(at(0));
      expect(portHolds('hold.set')).toHaveLength(1);
      expect(portHolds('hold.set')[0]).toMatchObject({ level: 'warn', target: 'instance 1' });
      expect(portHolds('hold.cleared')).toHaveLength(0);
      world.kernel.remove(900);
      await machine.until('it follows by itself', machine.isReady, 10_000);
      expect(portHolds('hold.set')).toHaveLength(1);
      expect(portHolds('hold.cleared')).toHaveLength(1);
    });
  });
});

const aStranger = { pid: 77, name: 'trainer', memoryBytes: 0, type: 'compute' as const, migDevice: null };
const stopped = {
  desired: 'stopped' as const,
  cordoned: false,
  draining: false,
  restartRequestedAt: null,
  drainBeforeRestart: false,
  quarantined: null,
  quarantine: null,
};
