import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { newRoot, startAgent, stopAgents, type TestAgent } from '../../support/agent/agent.ts';
import { type ControlFile, controlFile } from '../../support/agent/control-file.ts';
import { untilHealthy, untilInstance } from '../../support/agent/scene.ts';
import { eventually } from '../../support/eventually.ts';

/** Ways in which an instance is there and does not work: each has its own reason, and only that instance is said to have it. */

describe('an instance that is stopped with SIGSTOP', () => {
  afterEach(stopAgents);

  it('is told to hang within about ten seconds, does not slow health down, and goes on as it was', async () => {
    const agent = await startAgent({ gpus: 2 });
    await agent.untilReady([0, 1]);
    const before = await agent.instance(0);
    process.kill(before.pid ?? 0, 'SIGSTOP');
    try {
      const stoppedAt = performance.now();
      const hung = await untilInstance(agent, 0, 'not ready', (instance) => !instance.ready, 14_000);
      expect(performance.now() - stoppedAt).toBeLessThan(12_000);
      expect(hung).toMatchObject({ status: 'unhealthy', pid: before.pid });
      expect(hung.layers.runtime).toMatchObject({ status: 'fail', reason: expect.stringMatching(/stopped/) });
      expect((await agent.get('/health/comfyui/instances/0')).status).toBe(503);
      const asked = performance.now();
      for (let i = 0; i < 50; i++) expect((await agent.get('/health/comfyui/instances/1')).status).toBe(200);
      expect(performance.now() - asked).toBeLessThan(5_000);
    } finally {
      process.kill(before.pid ?? 0, 'SIGCONT');
    }
    const after = await untilInstance(agent, 0, 'ready', (instance) => instance.ready);
    expect(after).toMatchObject({ pid: before.pid, status: 'healthy', restarts: { total: 0 } });
  });
});

describe('an instance that misbehaves by itself', () => {
  let agent: TestAgent;
  let control: ControlFile;
  beforeAll(async () => {
    control = controlFile(await newRoot());
    agent = await startAgent({
      gpus: 1,
      environment: control.environment,
      config: { health: { canary: { timeoutMs: 6_000 }, startupNoProgressMs: 5_000, http: { periodMs: 500, timeoutMs: 1_500 } } },
    });
    await agent.untilReady([0]);
  });
  afterEach(async () => {
    await control.set({});
    const healed = await agent.cli('restart', '0', '--timeout', '15s');
    expect(healed).toMatchObject({ code: 0 });
    await untilHealthy(agent);
  });
  afterAll(stopAgents);

  it('whose worker thread has died answers HTTP and is not ready, because no job ends', async () => {
    await control.set({ zombie_worker: true });
    const restart = await agent.cli('restart', '0');
    expect(restart.code).toBe(1);
    expect(restart.stderr).toMatch(/^error\[INSTANCE_FAILED\]: gpu 0: .*the worker thread is dead.*$/m);
    // It is restarted again and again, and each start is told to be dead.
    const zombie = await untilInstance(agent, 0, 'told', ({ verdicts }) => verdicts.some(({ fault }) => fault === 'worker-dead'));
    expect(zombie).toMatchObject({ ready: false, layers: { functional: { status: 'fail' } } });
    expect(zombie.layers.functional.reason).toContain('the worker thread is dead');
    expect((await agent.cli('health', 'instance', '0')).code).toBe(3);
  });

  it('whose CUDA context is broken is not ready, with CUDA\u2019s own words', async () => {
    await control.set({ job_error: 'cuda' });
    const restart = await agent.cli('restart', '0');
    expect(restart.code).toBe(1);
    expect(restart.stderr).toMatch(/CUDA error/);
    const broken = await untilInstance(agent, 0, 'told', ({ verdicts }) => verdicts.some(({ fault }) => fault === 'cuda-error'));
    expect(broken).toMatchObject({ ready: false, layers: { functional: { status: 'fail' } } });
    expect(broken.layers.functional.reason).toMatch(/CUDA error/);
  });

  it('that is out of memory at its first job is not ready, with that reason', async () => {
    await control.set({ job_error: 'oom' });
    expect((await agent.cli('restart', '0')).code).toBe(1);
    expect((await agent.instance(0)).layers.functional.reason).toMatch(/out of memory|OutOfMemory/i);
  });

  it('that starts slowly is starting as long as its log moves, however long it takes', async () => {
    await control.set({ startup_ms: 8_000 });
    const { pid, restarts } = await agent.instance(0);
    expect(await agent.cli('restart', '0', '--no-wait')).toMatchObject({ code: 0 });
    const seen = new Set<string>();
    await eventually(
      'it is ready again',
      async () => {
        const instance = await agent.instance(0);
        if (instance.pid === pid || instance.pid === null) return false;
        seen.add(
          instance.status === 'unhealthy'
            ? `unhealthy: ${instance.layers.runtime.reason ?? instance.layers.functional.reason}`
            : instance.status,
        );
        return instance.ready;
      },
      30_000,
    );
    // Never called stuck: it took longer than the limit, but was never silent for so long.
    expect([...seen].sort()).toEqual(['healthy', 'starting']);
    expect((await agent.instance(0)).restarts.total).toBe(restarts.total);
  });

  it('whose start stands still is called stuck, and goes on when it does', async () => {
    await control.set({ hang_at_startup: true });
    expect(await agent.cli('restart', '0', '--no-wait')).toMatchObject({ code: 0 });
    const stuck = await untilInstance(agent, 0, 'stuck', (instance) => /without progress/.test(instance.layers.runtime.reason ?? ''));
    expect(stuck).toMatchObject({ status: 'unhealthy', ready: false });
    expect(stuck.layers.runtime.reason).toMatch(/^starting without progress for \d+ s; see `agent logs 0`$/);
    await control.set({});
    const ready = await untilInstance(agent, 0, 'ready', (instance) => instance.ready);
    expect(ready.pid).toBe(stuck.pid);
  });
});
