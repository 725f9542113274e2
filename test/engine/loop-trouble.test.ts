import { afterEach, describe, expect, it } from 'vitest';
import { AgentError } from '../../src/domain/errors/errors.ts';
import { aGpu } from '../support/machine/builders.ts';
import { aReadyMachine, type Machine } from '../support/machine/machine.ts';
import { createWorld, urlOf } from '../support/machine/world.ts';

let machine: Machine;
afterEach(async () => {
  await machine.stop();
});

const refused = () => new AgentError('PM2_UNAVAILABLE', 'the PM2 daemon does not answer');
const starts = ({ world }: Machine) => world.pm2.calls.filter((call) => call.startsWith('start'));

describe('the loop', () => {
  it('a template that changes how an instance is reached: it is told, and what serves goes on', async () => {
    machine = await aReadyMachine();
    const before = machine.instance(0).pid;
    machine.world.template.adds = ['--tls-keyfile', '/etc/key.pem', '--tls-certfile', '/etc/cert.pem'];
    await machine.core.agent.startOperation({ kind: 'restart', gpus: [0] });
    await machine.advance(5_000);
    expect(machine.instance(0)).toMatchObject({ pid: before });
    expect(machine.journal('action.failed')[0]?.message).toMatch(
      /adds an argument: --tls-keyfile cannot be used: .*TLS proxy.*TEMPLATE_INVALID/,
    );
    machine.world.template.adds = ['--lowvram'];
    await machine.until('it is another one', () => machine.instance(0).pid !== before && machine.instance(0).ready);
  });

  describe('what cannot be seen', () => {
    it('PM2 that does not answer: nothing is started or stopped, and what runs is told as it is seen without PM2', async () => {
      machine = await aReadyMachine();
      const calls = machine.world.pm2.calls.length;
      const heal = machine.wires.fail('processes.list', refused());
      await machine.core.agent.patchInstance('1', { desired: 'stopped' });
      await machine.advance(60_000);
      expect(machine.world.pm2.calls).toHaveLength(calls);
      expect(machine.instance(0)).toMatchObject({ ready: true, status: 'healthy', layers: { runtime: { status: 'pass' } } });
      const { health } = machine.core.documents();
      expect(health.holds).toContainEqual(expect.objectContaining({ target: 'machine', code: 'PM2_GONE' }));
      expect(health.verdicts).toMatchObject([{ fault: 'pm2-gone', blocksReady: false }]);
      // One that ends meanwhile is not ready, and nobody starts it beside what PM2 may host.
      machine.world.kernel.remove(machine.instance(0).pid ?? 0);
      machine.world.comfy.stop(urlOf(8188));
      await machine.until('it is not ready', () => !machine.instance(0).ready, 3_000);
      expect(machine.world.pm2.calls).toHaveLength(calls);
      machine.world.pm2.exit('comfyui-gpu0');
      await machine.advance(1_000);
      heal();
      await machine.until('the stop is carried out', () => machine.instance(1).status === 'stopped', 5_000);
      await machine.until('the other is back', () => machine.instance(0).ready, 10_000);
      expect(starts(machine)).toHaveLength(2);
    });

    it('/proc that does not show the processes: they are unknown, neither failed nor fine, and are left alone', async () => {
      machine = await aReadyMachine();
      const calls = machine.world.pm2.calls.length;
      const { pid } = machine.world.running().get('comfyui-gpu0') ?? { pid: null };
      machine.world.kernel.blind(true);
      await machine.advance(60_000);
      expect(machine.world.pm2.calls).toHaveLength(calls);
      expect(machine.instance(0)).toMatchObject({
        status: 'unknown',
        ready: false,
        pid,
        layers: { runtime: { status: 'unknown', reason: 'its process cannot be seen: /proc cannot be read' } },
      });
      expect(machine.core.documents().health.status).toBe('unknown');
      machine.world.kernel.blind(false);
      await machine.until('they are seen again', machine.isReady, 10_000);
      expect(machine.instance(0).restarts.total).toBe(0);
      expect(machine.world.pm2.calls).toHaveLength(calls);
    });

    it('one that ends while it is not shown is known to be gone, and one that is stopped is stopped', async () => {
      machine = await aReadyMachine();
      machine.world.kernel.blind(true);
      await machine.advance(3_000);
      machine.world.pm2.exit('comfyui-gpu0', { exitCode: 1 });
      expect(machine.instance(0)).toMatchObject({ pid: null, layers: { runtime: { status: 'fail' } } });
      const stopped = await machine.finished(await machine.core.agent.startOperation({ kind: 'stop', gpus: [1] }));
      expect(stopped.state).toBe('succeeded');
      expect(machine.world.running().has('comfyui-gpu1')).toBe(false);
    });

    it('settings that changed wait until the process, and its jobs, can be seen', async () => {
      machine = await aReadyMachine();
      machine.world.kernel.blind(true);
      await machine.advance(3_000);
      const { configuration } = machine.core.knowledge;
      const config = { ...configuration.config, comfyui: { ...configuration.config.comfyui, arguments: ['--lowvram'] } };
      machine.core.knowledge.configuration = { ...configuration, config };
      await machine.advance(10_000);
      expect(starts(machine)).toHaveLength(2);
      expect(machine.instance(0).hold).toBe('runs with earlier settings, and cannot be seen: /proc cannot be read');
      machine.world.kernel.blind(false);
      await machine.until('they have them', () => starts(machine).length === 4, 30_000);
    });

    it('an owned PM2 waits for the end of what it cannot see', async () => {
      machine = await aReadyMachine();
      machine.world.kernel.blind(true);
      await machine.advance(3_000);
      const abort = new AbortController();
      let isOver = false;
      const stopping = machine.core.stopInstances(abort.signal).then(() => {
        isOver = true;
      });
      await machine.advance(3_000);
      expect(isOver).toBe(false);
      machine.world.kernel.blind(false);
      await machine.advance(10_000);
      await stopping;
      expect(machine.world.running().size).toBe(0);
    });

    it('a PM2 daemon that is gone is started again, with its instances', async () => {
      machine = await aReadyMachine();
      machine.world.pm2.loseDaemon();
      expect(machine.events('pm2.lost')).toEqual(['machine: pm2.lost']);
      await machine.until('all is back', machine.isReady, 20_000);
    });

    it('cards that cannot be read: running instances are left alone', async () => {
      const world = await createWorld({ gpus: [aGpu(0), aGpu(1)] });
      machine = await aReadyMachine({ world, config: { gpu: { mode: 'actual' } } });
      world.hardware.fail('nvidia-smi did not answer within 5000 ms');
      await machine.core.surveys.gpus();
      await machine.advance(30_000);
      expect(machine.core.documents().health).toMatchObject({ status: 'degraded', capacity: '2/2' });
      expect(machine.core.documents().health.holds).toMatchObject([{ target: 'machine', code: 'GPU_QUERY_FAILED' }]);
      expect(world.pm2.calls).toHaveLength(2);
    });
  });

  describe('the end', () => {
    it('waits for actions that have begun, and begins none', async () => {
      machine = await aReadyMachine();
      const held = machine.wires.hold('processes.stop');
      await machine.core.agent.patchInstance('0', { desired: 'stopped' });
      await machine.world.clock.settle();
      let isOver = false;
      const closing = machine.core.close().then(() => {
        isOver = true;
      });
      await machine.advance(10_000);
      expect(isOver).toBe(false);
      held.open();
      await closing;
      expect(machine.world.pm2.calls.slice(2)).toEqual(['stop comfyui-gpu0']);
      expect(machine.world.journal.closed).toBe(true);
    });

    it('leaves no timer and no probe behind, even when a turn is under way', async () => {
      machine = await aReadyMachine();
      const held = machine.wires.hold('processes.list');
      void machine.core.reconciler.trigger();
      await machine.world.clock.settle();
      const closing = machine.core.close();
      await machine.world.clock.settle();
      held.open();
      await closing;
      const asked = machine.wires.count('comfy.ping');
      await machine.advance(30_000);
      expect(machine.wires.count('comfy.ping')).toBe(asked);
      expect(machine.world.clock.sleepers).toBe(0);
    });

    it('an owned PM2: every instance drains before it is stopped, and none is started again', async () => {
      machine = await aReadyMachine();
      const server = machine.world.comfy.serve(urlOf(8188));
      server.running.push('a job');
      await machine.advance(3_000);
      let isOver = false;
      const stopping = machine.core.stopInstances(new AbortController().signal).then(() => {
        isOver = true;
      });
      await machine.advance(10_000);
      expect([...machine.world.running().keys()]).toEqual(['comfyui-gpu0']);
      expect(isOver).toBe(false);
      server.running.length = 0;
      await machine.advance(5_000);
      await stopping;
      expect(machine.world.running().size).toBe(0);
    });
  });
});
