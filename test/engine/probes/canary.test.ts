import { describe, expect, it } from 'vitest';
import { runCanary } from '../../../src/probes/canary.ts';
import { CANARY } from '../../fakes/assets.ts';
import { createFakeClock } from '../../fakes/clock.ts';
import { createFakeComfy } from '../../fakes/comfy.ts';
import { aMachine, aReadyMachine, type Machine } from '../../support/machine/machine.ts';
import { urlOf } from '../../support/machine/world.ts';

const baseUrl = urlOf(8188);

function lab() {
  const clock = createFakeClock();
  const fake = createFakeComfy({ wait: (ms) => clock.sleep(ms) });
  const server = fake.serve(baseUrl);
  const abort = new AbortController();
  const begin = (graph: object = CANARY) =>
    runCanary({ baseUrl, graph, clientId: 'agent-canary', timeoutMs: 10_000 }, { comfy: fake.comfy, clock }, abort.signal);
  /** Runs one to its end, with all the time it needs. */
  const run = async (graph?: object) => {
    const running = begin(graph);
    await clock.advance(60_000);
    return running;
  };
  return { clock, fake, server, abort, begin, run };
}

describe('the canary', () => {
  it('passes when its picture is really there, and leaves no trace in the history', async () => {
    const { server, run, fake } = lab();
    expect(await run()).toEqual({ outcome: 'pass', reason: null, facts: { canaryMs: 0 } });
    expect(server.calls).toEqual(['submit', 'history', 'view', 'forget']);
    const [{ promptId } = { promptId: '' }] = server.submitted;
    expect(await fake.comfy.history(baseUrl, promptId, 1_000)).toBeNull();
  });

  it('is another picture each time, so that the cache cannot answer for a dead worker', async () => {
    const { server, run, clock } = lab();
    await run();
    await clock.advance(1);
    await run();
    const colors = server.submitted.map(({ graph }) => (graph as typeof CANARY)['1'].inputs.color);
    expect(new Set(colors).size).toBe(2);
    expect(CANARY['1'].inputs.color).toBe(0);
  });

  it('takes as long as it takes, within its limit', async () => {
    const { server, begin, clock } = lab();
    server.running.push('user-job');
    const running = begin();
    await clock.advance(3_000);
    server.running.length = 0;
    server.pending.length = 0;
    const again = begin();
    await clock.advance(60_000);
    expect(await again).toMatchObject({ outcome: 'pass' });
    expect(await running).toMatchObject({ outcome: 'fail' });
  });

  it('fails with node and exception when a node fails', async () => {
    const { server, run } = lab();
    server.jobError = { nodeType: 'EmptyImage', exceptionType: 'torch.OutOfMemoryError', message: 'CUDA out of memory' };
    expect(await run()).toEqual({
      outcome: 'fail',
      reason: 'the canary failed in EmptyImage: torch.OutOfMemoryError: CUDA out of memory',
    });
  });

  it('fails on a worker thread that is dead: accepted and never run', async () => {
    const { server, run } = lab();
    server.behaviour = 'zombie';
    expect(await run()).toEqual({
      outcome: 'fail',
      reason: 'prompts are accepted and never run (waiting 1, running none, for 10 s): the worker thread is dead',
    });
  });

  it('fails when it began and does not end', async () => {
    const { server, run } = lab();
    server.behaviour = 'stuck';
    expect(await run()).toEqual({ outcome: 'fail', reason: 'the canary began and did not end within 10 s' });
  });

  it('cannot tell while it waits behind the job of a user', async () => {
    const { server, run } = lab();
    server.running.push('user-job');
    expect(await run()).toEqual({ outcome: 'unknown', reason: 'the canary waits behind a running job since 10 s' });
  });

  it('fails when the picture is no PNG, or none was made', async () => {
    const { server, run, fake } = lab();
    server.picture = new TextEncoder().encode('<html>');
    expect(await run()).toEqual({ outcome: 'fail', reason: 'the picture of the canary is no PNG' });
    const comfy = {
      ...fake.comfy,
      history: async () => ({ completed: true, status: 'success' as const, error: null, images: [] }),
    };
    const outcome = await runCanary(
      { baseUrl, graph: CANARY, clientId: 'c', timeoutMs: 1_000 },
      { comfy, clock: createFakeClock() },
      new AbortController().signal,
    );
    expect(outcome).toEqual({ outcome: 'fail', reason: 'the canary ended without a picture' });
  });

  it('fails when the server refuses the graph', async () => {
    const { run } = lab();
    const outcome = await run({ '1': { class_type: 'NotThere', inputs: {} } });
    expect(outcome).toMatchObject({ outcome: 'fail', reason: expect.stringContaining('refused the prompt: invalid_prompt') as string });
  });

  it('cannot tell when the process went away or hangs: that is the runtime layer', async () => {
    const gone = lab();
    gone.fake.stop(baseUrl);
    expect(await gone.run()).toMatchObject({ outcome: 'unknown', reason: expect.stringContaining('nothing listens') as string });
    const hung = lab();
    hung.server.behaviour = 'hung';
    expect(await hung.run()).toMatchObject({ outcome: 'unknown', reason: expect.stringContaining('no answer') as string });
  });

  it('ends at once when its incarnation is gone', async () => {
    const { server, begin, clock, abort } = lab();
    server.behaviour = 'zombie';
    const running = begin();
    await clock.advance(500);
    abort.abort();
    expect(await running).toMatchObject({ outcome: 'unknown' });
    expect(clock.sleepers).toBe(0);
  });
});

/** An instance that starts again, and serves as soon as it listens. */
async function anotherStart() {
  const machine = await aReadyMachine();
  machine.world.boot = 'silent';
  machine.world.pm2.exit('comfyui-gpu0');
  await machine.advance(500);
  const { pid } = machine.world.running().get('comfyui-gpu0') ?? { pid: 0 };
  return { machine, server: machine.world.comfy.serve(urlOf(8188)), listen: () => machine.world.kernel.listen(pid, [8188]) };
}

describe('the canary of an instance', () => {
  it('runs once for each incarnation', async () => {
    const machine = await aReadyMachine();
    await machine.advance(120_000);
    const submitted = () => machine.world.comfy.serve(urlOf(8188)).submitted.length;
    expect(submitted()).toBe(1);
    machine.world.pm2.exit('comfyui-gpu0');
    await machine.until('it is ready again', machine.isReady);
    expect(submitted()).toBe(1);
    await machine.stop();
  });

  it('behind a job: the instance keeps starting, and is ready soon after the job', async () => {
    const { machine, server, listen } = await anotherStart();
    server.running.push('user-job');
    listen();
    await machine.advance(70_000);
    expect(machine.instance(0)).toMatchObject({ status: 'starting', ready: false, layers: { functional: { status: 'unknown' } } });
    server.running.length = 0;
    await machine.until('it is ready', () => machine.instance(0).ready, 90_000);
    await machine.stop();
  });

  it('that got no answer is run again as soon as HTTP answers', async () => {
    const { machine, server, listen } = await anotherStart();
    server.behaviour = 'stuck';
    listen();
    await machine.until('the canary runs', () => server.submitted.length > 0);
    server.behaviour = 'hung';
    const noAnswer = () => machine.instance(0).layers.functional.reason?.includes('no answer') === true;
    await machine.until('it got no answer', noAnswer, 20_000);
    server.running.length = 0;
    server.behaviour = 'serving';
    await machine.until('it is ready', () => machine.instance(0).ready, 4_000);
    await machine.stop();
  });

  it('that fails is run again soon, and then less and less often', async () => {
    const { machine, server, listen } = await anotherStart();
    server.jobError = { nodeType: 'EmptyImage', exceptionType: 'RuntimeError', message: 'not yet' };
    listen();
    const failed = () => machine.instance(0).layers.functional.status === 'fail';
    await machine.until('it failed', failed, 15_000);
    const early = server.submitted.length;
    await machine.advance(10_000);
    const first = server.submitted.length - early;
    expect(first).toBeGreaterThanOrEqual(2);
    await machine.advance(60_000);
    expect(server.submitted.length - early - first).toBeLessThanOrEqual(6);
    server.jobError = null;
    await machine.until('it is ready', () => machine.instance(0).ready, 20_000);
    await machine.stop();
  });

  it('that fails is told, and the instance is not ready though it answers', async () => {
    const { machine, server, listen } = await anotherStart();
    server.behaviour = 'zombie';
    listen();
    await machine.until('it is told', () => machine.instance(0).layers.functional.status === 'fail', 15_000);
    expect(machine.instance(0)).toMatchObject({
      status: 'unhealthy',
      ready: false,
      layers: { runtime: { status: 'pass' }, functional: { status: 'fail' } },
    });
    expect(machine.instance(0).layers.functional.reason).toContain('the worker thread is dead');
    await machine.stop();
  });

  describe('and the jobs of users', () => {
    const canaries = (machine: Machine) => machine.world.comfy.serve(urlOf(8188)).submitted.length;

    it('runs once for each process, and never again without a reason', async () => {
      const machine = await aReadyMachine();
      await machine.advance(600_000);
      expect(canaries(machine)).toBe(1);
      await machine.stop();
    });

    it('runs every so often when that is configured, never over a job', async () => {
      const machine = await aReadyMachine({ config: { health: { canary: { periodMs: 60_000 } } } });
      await machine.advance(130_000);
      expect(canaries(machine)).toBe(3);
      const server = machine.world.comfy.serve(urlOf(8188));
      server.running.push('user-job');
      await machine.advance(300_000);
      expect(canaries(machine)).toBe(3);
      expect(machine.instance(0).ready).toBe(true);
      server.running.length = 0;
      await machine.advance(5_000);
      expect(canaries(machine)).toBe(4);
      await machine.stop();
    });

    it('runs on suspicion, once the jobs are done', async () => {
      const machine = await aReadyMachine();
      const server = machine.world.comfy.serve(urlOf(8188));
      server.running.push('user-job');
      await machine.advance(3_000);
      machine.world.files.put(
        '/workspace/logs/comfyui-gpu0.log',
        'Starting server\nRuntimeError: cuDNN error: CUDNN_STATUS_EXECUTION_FAILED\n',
      );
      await machine.advance(20_000);
      expect(canaries(machine)).toBe(1);
      server.running.length = 0;
      await machine.advance(30_000);
      expect(canaries(machine)).toBe(2);
      expect(machine.instance(0).ready).toBe(true);
      await machine.stop();
    });

    it('the next agent takes over what is proved: busy instances stay ready, and models stay cached', async () => {
      const machine = await aReadyMachine();
      machine.world.comfy.serve(urlOf(8188)).running.push('user-job');
      await machine.stop();
      const next = await aMachine({ world: machine.world });
      await next.start();
      await next.until('it is ready', () => next.instance(0).ready, 10_000);
      expect(canaries(next)).toBe(1);
      await next.stop();
    });
  });

  it('turned off: an instance that answers is ready', async () => {
    const machine = await aReadyMachine({ config: { health: { canary: { enabled: false } } } });
    expect(machine.world.comfy.serve(urlOf(8188)).submitted).toEqual([]);
    await machine.stop();
  });
});
