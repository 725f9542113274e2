import { afterEach, describe, expect, it } from 'vitest';
import { execute } from '../../../src/engine/execute.ts';
import { aGpu } from '../../support/machine/builders.ts';
import { aMachine, aReadyMachine, type Machine } from '../../support/machine/machine.ts';
import { createWorld, urlOf } from '../../support/machine/world.ts';

let machine: Machine;
afterEach(() => machine.stop());

const ROOT = '/workspace';
const holdOf = (target: string) => machine.core.documents().health.holds.find((hold) => hold.target === target);
const server = () => machine.world.comfy.serve(urlOf(8188));

describe('instances that a killed PM2 daemon left', () => {
  it('are replaced at once when they have no jobs: asked to end first, and never beside a second one', async () => {
    machine = await aReadyMachine();
    const before = machine.instance(0).pid;
    machine.world.pm2.loseDaemon();
    await machine.until('it is another process', () => machine.instance(0).ready && machine.instance(0).pid !== before, 10_000);
    expect(machine.world.kernel.signals).toContain(`SIGINT ${before}`);
    expect(machine.world.kernel.signals.filter((signal) => signal.startsWith('SIGKILL'))).toEqual([]);
    expect([...machine.events('action.end-leftovers')].sort()).toEqual([
      'instance 0: action.end-leftovers',
      'instance 1: action.end-leftovers',
    ]);
  });

  it('finish their jobs first, take no new ones meanwhile, and that is told', async () => {
    machine = await aReadyMachine();
    const before = machine.instance(0).pid;
    const { running } = server();
    running.push('a job');
    machine.world.pm2.loseDaemon();
    await machine.until('the other is back', () => machine.instance(1).ready, 10_000);
    await machine.advance(30_000);
    expect(machine.instance(0)).toMatchObject({
      pid: before,
      ready: false,
      status: 'draining',
      queue: { running: 1 },
      layers: { runtime: { status: 'pass' } },
      verdicts: [{ fault: 'leftover-process', next: expect.stringContaining('its jobs may end until') }],
    });
    expect(holdOf('instance 0')).toMatchObject({ code: 'DRAINING', reason: expect.stringContaining('it ends after 1 job') });
    expect(machine.world.kernel.signals).not.toContain(`SIGINT ${before}`);
    running.length = 0;
    await machine.until('it is replaced', () => machine.instance(0).ready && machine.instance(0).pid !== before, 10_000);
    expect(machine.instance(0)).toMatchObject({ status: 'healthy', verdicts: [] });
  });

  it('are asked once more just before they are ended: a job that came since is kept', async () => {
    machine = await aReadyMachine();
    const before = machine.instance(0).pid;
    const { running } = server();
    running.push('a job');
    machine.world.pm2.loseDaemon();
    await machine.advance(5_000);
    const { knowledge, state } = machine.core;
    const record = knowledge.instances.of(0);
    const { leftover } = record;
    if (leftover === null) throw new Error('it is no leftover');
    expect(leftover.jobs).toBe(1);
    const { ports } = machine.wires;
    const nothing = async (): Promise<void> => undefined;
    const end = () =>
      execute(
        { kind: 'end-leftovers', gpu: 0, name: 'comfyui-gpu0', reason: 'it has no jobs' },
        { ports, knowledge, state, install: nothing, rollouts: {} as never, onEnding: () => undefined },
      );
    // As a look of a moment before has seen it.
    record.leftover = { ...leftover, jobs: 0 };
    await end();
    expect(machine.world.kernel.signals).not.toContain(`SIGINT ${before}`);
    running.length = 0;
    const ended = end();
    await machine.until('it is told to end', () => machine.world.kernel.signals.includes(`SIGINT ${before}`), 10_000);
    await machine.advance(5_000);
    await ended;
  });

  it('with jobs that do not end are ended after the limit of a drain, or at once when somebody asks', async () => {
    machine = await aReadyMachine({ config: { health: { drainTimeoutMs: 60_000 } } });
    const before = machine.instance(0).pid;
    const other = machine.instance(1).pid;
    server().running.push('a job');
    machine.world.comfy.serve(urlOf(8189)).running.push('a job');
    machine.world.pm2.loseDaemon();
    await machine.advance(20_000);
    await machine.core.agent.startOperation({ kind: 'restart', gpus: [1] });
    await machine.advance(3_000);
    expect(machine.world.kernel.signals).toEqual([`SIGINT ${other}`]);
    await machine.until('the limit is over', () => machine.world.kernel.signals.includes(`SIGINT ${before}`), 50_000);
    await machine.until('it is replaced', () => machine.world.running().get('comfyui-gpu0')?.pid !== before, 10_000);
    await machine.advance(5_000);
  });

  it('that have nothing to drain (pm2.leftovers: end) are ended at once', async () => {
    machine = await aReadyMachine({ config: { pm2: { leftovers: 'end' } } });
    const before = machine.instance(0).pid;
    server().running.push('a job');
    machine.world.pm2.loseDaemon();
    await machine.until('it is ended', () => machine.world.kernel.signals.includes(`SIGINT ${before}`), 5_000);
    await machine.advance(5_000);
  });

  it('are found by the next agent too, with what has made itself independent; what is deaf to SIGINT is killed', async () => {
    const world = await createWorld();
    const environment = { AGENT_ROOT: ROOT, AGENT_INSTANCE: 'comfyui-gpu0' };
    world.kernel.add({ pid: 300, environment, command: 'python main.py', deafToTerm: true });
    world.kernel.add({ pid: 301, environment, session: 301 });
    // Of its session, without our mark.
    world.kernel.add({ pid: 302, environment: {}, session: 300 });
    machine = await aMachine({ world });
    await machine.start();
    await machine.until('the machine is healthy', machine.isReady);
    expect(world.kernel.signals).toEqual(['SIGINT 300', 'SIGINT 302', 'SIGINT 301', 'SIGKILL 300']);
  });

  it('of a card that is not wanted any more are ended too', async () => {
    const world = await createWorld({ gpus: [aGpu(0)] });
    world.kernel.add({ pid: 300, environment: { AGENT_ROOT: ROOT, AGENT_INSTANCE: 'comfyui-gpu7' } });
    machine = await aMachine({ world, config: { gpu: { mode: 'actual' } } });
    await machine.start();
    await machine.until('the machine is healthy', machine.isReady);
    expect(world.kernel.signals).toEqual(['SIGINT 300']);
  });

  it('are waited for until their port is free', async () => {
    machine = await aReadyMachine();
    const before = machine.instance(0).pid ?? 0;
    machine.world.pm2.loseDaemon();
    const held = machine.wires.hold('kernel.portHolders');
    await machine.advance(3_000);
    const starts = machine.world.pm2.calls.filter((call) => call.startsWith('start')).length;
    expect(starts).toBe(2);
    held.open();
    await machine.until('they are back', machine.isReady, 20_000);
    expect(machine.instance(0).pid).not.toBe(before);
  });
});

describe('a process that is not ours', () => {
  it('is never signalled: not by its port, its command line, another root, nor because it cannot be read', async () => {
    const world = await createWorld();
    const { kernel } = world;
    kernel.add({ pid: 400, command: 'python -u main.py --port 8188', environment: { AGENT_INSTANCE: 'comfyui-gpu0' }, listens: [8188] });
    kernel.add({ pid: 401, command: 'python', environment: { AGENT_INSTANCE: 'comfyui-gpu1', AGENT_ROOT: '/elsewhere' } });
    kernel.add({ pid: 402, environment: { AGENT_INSTANCE: 'comfyui-gpu1', AGENT_ROOT: ROOT }, foreign: true });
    kernel.add({ pid: 403, environment: { AGENT_INSTANCE: 'comfyui-trial', AGENT_ROOT: ROOT } });
    machine = await aMachine({ world });
    await machine.start();
    await machine.until('the other is ready', () => machine.instance(1).ready);
    await machine.advance(60_000);
    expect(kernel.signals).toEqual([]);
    expect(holdOf('instance 0')).toMatchObject({
      code: 'PORT_HELD',
      reason: 'port 8188 is held by pid 400 (python -u main.py --port 8188)',
    });
    expect(machine.instance(0).verdicts).toMatchObject([
      { fault: 'port-taken', reason: 'port 8188 is held by pid 400 (python -u main.py --port 8188)' },
    ]);
    kernel.remove(400);
    await machine.until('it is ready', machine.isReady, 10_000);
  });

  it('is never signalled though it got the pid of one of ours between the look and the signal', async () => {
    const world = await createWorld();
    const { kernel } = world;
    kernel.add({ pid: 500, environment: { AGENT_ROOT: ROOT, AGENT_INSTANCE: 'comfyui-gpu0' }, deafToTerm: true });
    machine = await aMachine({ world, config: { pm2: { killTimeoutMs: 1_000 } } });
    await machine.start();
    await machine.until('it was asked', () => kernel.signals.length > 0);
    kernel.add({ pid: 500, command: 'somebody else', environment: {} });
    await machine.until('the machine is healthy', machine.isReady);
    expect(kernel.signals).toEqual(['SIGINT 500']);
    expect(await kernel.kernel.command(500)).toBe('somebody else');
  });
});

describe('a PM2 daemon that is deaf', () => {
  const pids = () => [0, 1].map((gpu) => machine.instance(gpu).pid);

  it('is told at once and replaced after a while; what it hosted finishes its jobs', async () => {
    machine = await aReadyMachine();
    const [busy, idle] = pids();
    const { running } = server();
    running.push('a job');
    machine.world.pm2.deafen();
    await machine.until('it is told', () => holdOf('machine')?.code === 'PM2_DEAF', 5_000);
    expect(machine.core.documents().health.verdicts).toMatchObject([{ fault: 'pm2-deaf' }]);
    await machine.advance(5_000);
    expect(pids()).toEqual([busy, idle]);
    expect(machine.instance(0).ready).toBe(true);
    await machine.until('the idle one is back', () => machine.instance(1).ready && machine.instance(1).pid !== idle, 15_000);
    expect(machine.instance(0)).toMatchObject({ pid: busy, status: 'draining' });
    running.length = 0;
    await machine.until('all is back', machine.isReady, 10_000);
    expect(machine.core.documents().health.verdicts).toEqual([]);
  });

  it('that hears again in time keeps its instances', async () => {
    machine = await aReadyMachine();
    const before = pids();
    machine.world.pm2.deafen();
    await machine.advance(6_000);
    machine.world.pm2.deafen(false);
    await machine.advance(30_000);
    expect(pids()).toEqual(before);
    expect(machine.core.documents().health).toMatchObject({ status: 'healthy', verdicts: [] });
  });

  it('of a unit of its own is never ended by the agent', async () => {
    machine = await aReadyMachine({ config: { pm2: { mode: 'external' } } });
    const before = pids();
    machine.world.pm2.deafen();
    await machine.advance(120_000);
    expect(pids()).toEqual(before);
    expect(holdOf('machine')).toMatchObject({ code: 'PM2_DEAF', help: expect.stringContaining('systemctl restart comfylet-pm2') });
  });
});

describe('a process that is just being started', () => {
  it('is never taken for one that was left, though PM2 was asked before it was there', async () => {
    machine = await aReadyMachine();
    machine.world.pm2.exit('comfyui-gpu0');
    await machine.core.agent.patchInstance('0', { desired: 'stopped' });
    await machine.advance(3_000);
    await machine.core.agent.patchInstance('0', { desired: 'running' });
    await machine.until('the machine is healthy', machine.isReady, 10_000);
    // A look that asks PM2, and goes through the processes once the start has begun and ended.
    const starting = machine.wires.hold('processes.start');
    await machine.core.agent.startOperation({ kind: 'restart', gpus: [0] });
    await machine.until('it is being started', () => starting.waiting === 1, 5_000);
    const looking = machine.wires.hold('kernel.portHolders');
    void machine.core.reconciler.trigger();
    await machine.world.clock.settle();
    starting.open();
    await machine.world.clock.settle();
    looking.open();
    await machine.until('the machine is healthy', machine.isReady, 10_000);
    await machine.advance(5_000);
    expect(machine.events('action.end-leftovers')).toEqual([]);
    expect(machine.journal('fault.seen').filter(({ data }) => data['fault'] === 'leftover-process')).toEqual([]);
  });
});
