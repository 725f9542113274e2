import { afterEach, describe, expect, it } from 'vitest';
import type { OperationDocument } from '../../../src/domain/operation.ts';
import { aReadyMachine, type Machine } from '../../support/machine/machine.ts';
import { urlOf } from '../../support/machine/world.ts';

let machine: Machine;
afterEach(async () => {
  await machine.stop();
});

const ask = (request: Parameters<Machine['core']['agent']['startOperation']>[0]): Promise<OperationDocument> =>
  machine.core.agent.startOperation(request);
const done = async (request: Parameters<Machine['core']['agent']['startOperation']>[0], limitMs?: number): Promise<OperationDocument> =>
  machine.finished(await ask(request), limitMs);
const pidOf = (gpu: number): number | null => machine.world.running().get(`comfyui-gpu${gpu}`)?.pid ?? null;

describe('an operation that waits', () => {
  it('is superseded by a later one of another kind', async () => {
    machine = await aReadyMachine();
    machine.world.boot = 'silent';
    const starting = await ask({ kind: 'restart', gpus: [0] });
    await machine.advance(5_000);
    expect(await done({ kind: 'stop', gpus: [0] })).toMatchObject({ state: 'succeeded' });
    expect(machine.core.operations.get(starting.id)).toMatchObject({
      state: 'cancelled',
      message: expect.stringMatching(/^restart instance 0 was superseded by stop-\S+ \(stop instance 0\)$/) as string,
      error: { code: 'SUPERSEDED' },
    });
    expect(pidOf(0)).toBeNull();
  });

  /** Both stopped, and what is started from now on does not come up. */
  const aStoppedMachine = async (): Promise<void> => {
    machine = await aReadyMachine();
    await done({ kind: 'stop' });
    machine.world.boot = 'silent';
  };
  const serve = (gpu: number): void => {
    machine.world.kernel.listen(pidOf(gpu) ?? 0, [8188 + gpu]);
    machine.world.comfy.serve(urlOf(8188 + gpu));
  };

  it('also when it names other instances beside', async () => {
    await aStoppedMachine();
    const starting = await ask({ kind: 'start', gpus: [0] });
    await machine.advance(5_000);
    const stopping = await ask({ kind: 'stop' });
    await machine.world.clock.settle();
    expect(machine.core.operations.get(starting.id)).toMatchObject({
      state: 'cancelled',
      message: `start instance 0 was superseded by ${stopping.id} (stop all instances)`,
    });
    expect((await machine.finished(stopping)).state).toBe('succeeded');
    expect(pidOf(0)).toBeNull();
  });

  it('and what is left of the earlier one goes on, and tells of the rest', async () => {
    await aStoppedMachine();
    const starting = await ask({ kind: 'start' });
    await machine.advance(5_000);
    const stopping = await ask({ kind: 'stop', gpus: [0] });
    expect((await machine.finished(stopping)).state).toBe('succeeded');
    const note = `; instance 0 was superseded by ${stopping.id} (stop instance 0)`;
    await machine.advance(1_000);
    expect(machine.core.operations.get(starting.id)).toMatchObject({
      state: 'running',
      message: expect.stringMatching(/^0\/1 done, gpu 1 starting/) as string,
    });
    serve(1);
    expect(await machine.finished(starting)).toMatchObject({ state: 'succeeded', message: `start done: 1 instance${note}` });
    expect(machine.instance(0).status).toBe('stopped');
  });

  it('instance by instance, until nothing is left', async () => {
    await aStoppedMachine();
    const starting = await ask({ kind: 'start' });
    await machine.advance(5_000);
    await done({ kind: 'stop', gpus: [0] });
    await done({ kind: 'stop', gpus: [1] });
    expect(machine.core.operations.get(starting.id)).toMatchObject({ state: 'cancelled', error: { code: 'SUPERSEDED' } });
  });

  it('even while the earlier one is still writing its wishes down', async () => {
    machine = await aReadyMachine();
    const held = machine.wires.hold('files.writeText', '/workspace/state/intents.json');
    const stopping = await ask({ kind: 'stop' });
    await machine.world.clock.settle();
    const restarting = await ask({ kind: 'start', gpus: [1] });
    held.open();
    expect((await machine.finished(restarting)).state).toBe('succeeded');
    expect(await machine.finished(stopping)).toMatchObject({
      state: 'succeeded',
      message: expect.stringContaining('1 instance;') as string,
    });
    expect(machine.instance(0).status).toBe('stopped');
    expect(machine.instance(1).ready).toBe(true);
  });

  it.each([
    { kind: 'start', patch: { desired: 'stopped' }, ends: true },
    { kind: 'start', patch: { drain: true }, ends: true },
    { kind: 'start', patch: { cordoned: true }, ends: false },
    { kind: 'start', patch: { drain: false }, ends: false },
  ] as const)('a $kind that waits, and a PATCH of $patch: ends $ends', async ({ kind, patch, ends }) => {
    await aStoppedMachine();
    const waiting = await ask({ kind, gpus: [0] });
    await machine.advance(1_000);
    await machine.core.agent.patchInstance('0', patch);
    await machine.world.clock.settle();
    expect(machine.core.operations.get(waiting.id).state).toBe(ends ? 'cancelled' : 'running');
  });

  it('an uncordon ends a drain, and who waited for it is told', async () => {
    machine = await aReadyMachine();
    machine.world.comfy.serve(urlOf(8188)).running.push('job');
    await machine.advance(3_000);
    const draining = await ask({ kind: 'drain', gpus: [0] });
    await machine.advance(3_000);
    await machine.core.agent.patchInstance('0', { cordoned: false, drain: false });
    await machine.world.clock.settle();
    expect(machine.core.operations.get(draining.id)).toMatchObject({
      state: 'cancelled',
      message: 'drain instance 0 was superseded by a later change of its state',
    });
    await machine.advance(5_000);
    expect(machine.instance(0)).toMatchObject({ status: 'healthy', ready: true });
  });
});
