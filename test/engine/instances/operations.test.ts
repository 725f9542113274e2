import { afterEach, describe, expect, it } from 'vitest';
import type { OperationDocument } from '../../../src/domain/operation.ts';
import { aMachine, aReadyMachine, type Machine } from '../../support/machine/machine.ts';
import { createWorld, urlOf } from '../../support/machine/world.ts';

let machine: Machine;
afterEach(async () => {
  await machine.stop();
});

const ask = (request: Parameters<Machine['core']['agent']['startOperation']>[0]): Promise<OperationDocument> =>
  machine.core.agent.startOperation(request);
const done = async (request: Parameters<Machine['core']['agent']['startOperation']>[0], limitMs?: number): Promise<OperationDocument> =>
  machine.finished(await ask(request), limitMs);
const pidOf = (gpu: number): number | null => machine.world.running().get(`comfyui-gpu${gpu}`)?.pid ?? null;

describe('instance operations', () => {
  it('stop waits until it is stopped, and start until it is proved', async () => {
    machine = await aReadyMachine();
    expect(await done({ kind: 'stop', gpus: [0] })).toMatchObject({
      state: 'succeeded',
      target: 'instance 0',
      message: 'stop done: 1 instance',
    });
    expect(pidOf(0)).toBeNull();
    expect(machine.instance(0)).toMatchObject({ status: 'stopped', ready: false });
    await machine.advance(30_000);
    expect(pidOf(0)).toBeNull();
    machine.world.boot = 'silent';
    const starting = await ask({ kind: 'start', gpus: [0] });
    await machine.advance(5_000);
    expect(machine.core.operations.get(starting.id)).toMatchObject({ state: 'running', message: '0/1 done, gpu 0 starting for 5 s' });
    machine.world.kernel.listen(pidOf(0) ?? 0, [8188]);
    machine.world.comfy.serve(urlOf(8188));
    expect(await machine.finished(starting)).toMatchObject({ state: 'succeeded' });
    expect(machine.instance(0).ready).toBe(true);
  });

  it('restart gives a new process, for one or for all', async () => {
    machine = await aReadyMachine();
    const before = [pidOf(0), pidOf(1)];
    await done({ kind: 'restart', gpus: [1] });
    expect(pidOf(0)).toBe(before[0]);
    expect(pidOf(1)).not.toBe(before[1]);
    const now = pidOf(1);
    await machine.advance(1_000);
    expect(await done({ kind: 'restart' })).toMatchObject({ target: 'all instances', message: 'restart done: 2 instances' });
    expect(pidOf(0)).not.toBe(before[0]);
    expect(pidOf(1)).not.toBe(now);
    expect(machine.core.knowledge.intents.instances['0']).toMatchObject({ restartRequestedAt: null });
    await machine.advance(10_000);
    expect(machine.world.pm2.calls.filter((call) => call.startsWith('start'))).toHaveLength(5);
  });

  it('a restart asked for during a restart is not lost', async () => {
    machine = await aReadyMachine();
    const held = machine.wires.holdAnswer('processes.start', 'comfyui-gpu0');
    const one = await ask({ kind: 'restart', gpus: [0] });
    await machine.advance(500);
    expect(held.waiting).toBe(1);
    const before = pidOf(0);
    const all = await ask({ kind: 'restart' });
    await machine.advance(500);
    held.open();
    expect((await machine.finished(one)).state).toBe('succeeded');
    expect((await machine.finished(all)).state).toBe('succeeded');
    expect(pidOf(0)).not.toBe(before);
  });

  it('drain waits for the jobs, then stops', async () => {
    machine = await aReadyMachine();
    const server = machine.world.comfy.serve(urlOf(8188));
    server.running.push('job');
    server.pending.push('next');
    await machine.advance(3_000);
    const { id } = await ask({ kind: 'drain', gpus: [0] });
    await machine.advance(5_000);
    expect(machine.core.operations.get(id)).toMatchObject({ state: 'running', message: '0/1 done, gpu 0 draining: 2 jobs left' });
    expect(machine.instance(0)).toMatchObject({ status: 'draining', ready: false });
    expect(pidOf(0)).not.toBeNull();
    server.running.length = 0;
    server.pending.length = 0;
    expect(await machine.finished({ ...machine.core.operations.get(id) })).toMatchObject({ state: 'succeeded' });
    expect(pidOf(0)).toBeNull();
    expect(machine.instance(0).status).toBe('stopped');
  });

  it('restart --drain lets jobs finish, but not for ever', async () => {
    machine = await aReadyMachine({ config: { health: { drainTimeoutMs: 20_000 } } });
    machine.world.comfy.serve(urlOf(8188)).running.push('endless');
    await machine.advance(3_000);
    const before = pidOf(0);
    const { id } = await ask({ kind: 'restart', gpus: [0], drain: true });
    await machine.advance(15_000);
    expect(pidOf(0)).toBe(before);
    await machine.advance(10_000);
    expect(pidOf(0)).not.toBe(before);
    expect(await machine.finished(machine.core.operations.get(id))).toMatchObject({ state: 'succeeded' });
  });

  it('what waiting cannot heal is told at once: a stranger on the port', async () => {
    const world = await createWorld();
    world.kernel.add({ pid: 900, command: 'nginx', listens: [8188] });
    machine = await aMachine({ world });
    await machine.start();
    await machine.until('the other is ready', () => machine.instance(1).ready);
    const operation = await done({ kind: 'start', gpus: [0] }, 1_000);
    expect(operation).toMatchObject({
      state: 'failed',
      error: {
        code: 'HELD',
        message: 'gpu 0: port 8188 is held by pid 900 (nginx)',
        help: expect.stringContaining('stop that process') as string,
      },
    });
  });

  it('a canary that fails ends a start as failed', async () => {
    machine = await aReadyMachine();
    await done({ kind: 'stop', gpus: [0] });
    machine.world.boot = 'silent';
    const starting = await ask({ kind: 'start', gpus: [0] });
    await machine.advance(1_000);
    machine.world.comfy.serve(urlOf(8188)).jobError = { nodeType: 'EmptyImage', exceptionType: 'RuntimeError', message: 'no kernel image' };
    machine.world.kernel.listen(pidOf(0) ?? 0, [8188]);
    expect(await machine.finished(starting)).toMatchObject({
      state: 'failed',
      error: { code: 'INSTANCE_FAILED', message: expect.stringContaining('no kernel image') as string },
    });
  });

  it('a quarantine ends with a start by hand, and a new count begins', async () => {
    machine = await aReadyMachine({ config: { health: { maxRestartsInWindow: 3 } } });
    for (let crashes = 0; crashes < 4; crashes++) {
      machine.world.pm2.exit('comfyui-gpu0');
      await machine.advance(300);
    }
    await machine.until('it is quarantined', () => machine.instance(0).status === 'quarantined', 5_000);
    expect(await done({ kind: 'start', gpus: [0] })).toMatchObject({ state: 'succeeded' });
    machine.world.pm2.exit('comfyui-gpu0');
    await machine.until('it is ready again', () => machine.instance(0).ready, 10_000);
    expect(machine.instance(0).restarts.inWindow).toBe(1);
  });

  it('a start is done although the instance is cordoned, and it stays out of use', async () => {
    machine = await aReadyMachine();
    await machine.core.agent.patchInstance('0', { cordoned: true });
    expect(machine.instance(0)).toMatchObject({ status: 'healthy', ready: false, cordoned: true });
    expect(await done({ kind: 'restart', gpus: [0] })).toMatchObject({ state: 'succeeded' });
    expect(machine.instance(0)).toMatchObject({ ready: false, cordoned: true });
    await machine.core.agent.patchInstance('0', { cordoned: false });
    expect(machine.instance(0).ready).toBe(true);
  });

  it('name what is not there', async () => {
    machine = await aReadyMachine();
    await expect(ask({ kind: 'stop', gpus: [0, 7] })).rejects.toMatchObject({
      code: 'INSTANCE_NOT_FOUND',
      message: 'there is no GPU 7; there are 0, 1',
    });
  });

  it('are refused while no card was seen yet', async () => {
    const world = await createWorld();
    world.hardware.fail('nvidia-smi did not answer');
    machine = await aMachine({ world, config: { gpu: { mode: 'actual' } } });
    await machine.step();
    await expect(ask({ kind: 'start' })).rejects.toMatchObject({ code: 'HELD' });
    await expect(machine.core.agent.patchInstance('0', { desired: 'stopped' })).rejects.toMatchObject({ code: 'HELD' });
    expect(await machine.core.agent.instance('0')).toMatchObject({ status: 'unknown', ready: false });
  });

  it('follow the documents however many changes come at once', async () => {
    machine = await aReadyMachine();
    machine.world.boot = 'silent';
    const restarting = await ask({ kind: 'restart', gpus: [0] });
    await machine.advance(1_000);
    const noisy = machine.core.operations.start('install', 'installation', 'noise', async (handle) => {
      for (let line = 0; line < 500; line++) handle.update({ message: `line ${line}` });
      return 'done';
    });
    await machine.finished(noisy);
    expect(machine.core.operations.get(restarting.id).state).toBe('running');
    machine.world.kernel.listen(pidOf(0) ?? 0, [8188]);
    machine.world.comfy.serve(urlOf(8188));
    expect(await machine.finished(restarting)).toMatchObject({ state: 'succeeded' });
  });

  it('wishes outlive the agent', async () => {
    machine = await aReadyMachine();
    await done({ kind: 'stop', gpus: [1] });
    await machine.core.agent.patchInstance('0', { cordoned: true });
    await machine.stop();
    machine = await aMachine({ world: machine.world });
    await machine.start();
    await machine.advance(20_000);
    expect(machine.instance(1).status).toBe('stopped');
    expect(machine.instance(0)).toMatchObject({ cordoned: true, ready: false, status: 'healthy' });
    expect(machine.world.files.mode('/workspace/state/intents.json')).toBe(0o600);
  });
});
