import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import type { StatusDocument } from '../../src/domain/agent.ts';
import type { InstanceDocument } from '../../src/domain/instances/instance.ts';
import { newRoot, startAgent, stopAgents, type TestAgent } from '../support/agent/agent.ts';
import { type ControlFile, controlFile } from '../support/agent/control-file.ts';
import { untilHealthy, untilInstance } from '../support/agent/scene.ts';
import { eventually } from '../support/eventually.ts';

/** Faults of the real daemon on the simulator: each is told under its own name, healed, and touches no other instance. */

const HEALTH = {
  http: { periodMs: 500, timeoutMs: 1_000 },
  websocket: { periodMs: 1_000, timeoutMs: 3_000 },
  hangGraceMs: 12_000,
  hangIdleMs: 6_000,
  canary: { timeoutMs: 6_000 },
  backOff: { afterExits: 100 },
  maxRestartsInWindow: 100,
};

/** A job that uses the device. */
async function submit(url: string | null): Promise<void> {
  const color = Math.floor(Math.random() * 0xffffff);
  const prompt = {
    '1': { class_type: 'EmptyImage', inputs: { width: 8, height: 8, batch_size: 1, color } },
    '2': { class_type: 'ImageBlur', inputs: { image: ['1', 0], blur_radius: 1, sigma: 1 } },
    '3': { class_type: 'PreviewImage', inputs: { images: ['2', 0] } },
  };
  const response = await fetch(`${url}/prompt`, { method: 'POST', body: JSON.stringify({ prompt }) });
  if (!response.ok) throw new Error(await response.text());
}

const hasFault = (fault: string) => (instance: InstanceDocument) => instance.verdicts.some((verdict) => verdict.fault === fault);

/** What was written down about instance 0, for people. */
const told = async (agent: TestAgent): Promise<string> =>
  (await agent.json<StatusDocument>('status')).recent.map(({ type, target, message }) => `${target} ${type} ${message}`).join('\n');

describe('an instance with a fault', () => {
  let agent: TestAgent;
  let control: ControlFile;
  let before: InstanceDocument;
  let other: InstanceDocument;
  beforeAll(async () => {
    control = controlFile(await newRoot());
    agent = await startAgent({
      gpus: 2,
      environment: control.environment,
      config: { health: HEALTH, pm2: { killTimeoutMs: 1_500 } },
    });
    await agent.untilReady([0, 1]);
  });
  afterAll(stopAgents);

  const remember = async () => {
    before = await agent.instance(0);
    other = await agent.instance(1);
  };
  /** The fault is gone with the old process: the new one comes up without it. */
  const untilReplaced = async () => {
    await untilInstance(agent, 0, 'replaced or down', ({ pid }) => pid !== before.pid, 40_000);
    await control.set({});
    return untilInstance(agent, 0, 'ready again', ({ ready, pid }) => ready && pid !== before.pid, 30_000);
  };
  /** Sends jobs until one meets the fault: a switch is taken over a moment after it was set. */
  const untilStruck = (isSo: (instance: InstanceDocument) => boolean) =>
    eventually(
      'a job meets the fault',
      async () => {
        const now = await agent.instance(0);
        if (isSo(now) || now.pid !== before.pid) return now;
        if (now.queue?.pending === 0) await submit(before.url);
        throw new Error(JSON.stringify(now));
      },
      20_000,
    );
  afterEach(async () => {
    await control.set({});
    await untilHealthy(agent);
    // No fault of one touches the other.
    expect((await agent.instance(1)).pid).toBe(other.pid);
  });

  it('stopped with SIGSTOP: named, not ready, and restarted after a while', async () => {
    await remember();
    process.kill(before.pid ?? 0, 'SIGSTOP');
    const stopped = await untilInstance(agent, 0, 'called stopped', hasFault('stopped-process'), 20_000);
    expect(stopped).toMatchObject({ ready: false, status: 'unhealthy', layers: { runtime: { status: 'fail' } } });
    expect(stopped.verdicts[0]?.next).toMatch(/restarted at .* unless it answers before then/);
    expect((await agent.cli('status')).stdout).toMatch(/the process is stopped \(SIGSTOP\)/);
    await untilReplaced();
    expect(await told(agent)).toMatch(/instance 0 fault\.seen .*SIGSTOP/);
  });

  it('whose interpreter is held for a while is not ready, and comes back as it was', async () => {
    await remember();
    await control.set({ gil_stall_seconds: 4.5 });
    await untilInstance(agent, 0, 'not ready', ({ ready }) => !ready, 20_000);
    const after = await untilInstance(agent, 0, 'ready', ({ ready }) => ready, 30_000);
    expect(after.pid).toBe(before.pid);
    // The switch strikes every simulator of this agent.
    await untilInstance(agent, 1, 'ready', ({ ready }) => ready, 30_000);
  });

  it.each([
    ['with a traceback', { zombie_worker: true }],
    ['by sys.exit in a node, without a word', { silent_worker_death: true }],
  ])('whose worker thread has ended %s: restarted', async (_, switches) => {
    await remember();
    await control.set(switches);
    await untilStruck(hasFault('worker-dead'));
    await untilReplaced();
    expect(await told(agent)).toMatch(/instance 0 fault\.seen the worker thread is dead/);
  });

  it('whose CUDA context is broken: restarted, with CUDA\u2019s own words', async () => {
    await remember();
    await control.set({ job_error: 'cuda' });
    await untilStruck(hasFault('cuda-error'));
    await untilReplaced();
    expect(await told(agent)).toMatch(/instance 0 fault\.seen its CUDA context is broken: .*CUDA error/);
  });

  it('whose job ran out of memory: it gives memory back and serves on', async () => {
    await remember();
    await control.set({ job_error: 'oom' });
    const oom = await untilStruck(hasFault('job-out-of-memory'));
    expect(oom).toMatchObject({ ready: true, status: 'degraded', pid: before.pid });
    await eventually('memory was freed', async () => {
      const { stdout } = await agent.cli('logs', 'agent', '-n', '200');
      return stdout.includes('free memory: a job ran out of memory');
    });
    expect((await agent.instance(0)).pid).toBe(before.pid);
    await eventually('it is over', async () => (await agent.instance(0)).verdicts.length === 0, 90_000);
  });

  it('whose WebSocket cannot be opened is not ready, and is again with it', async () => {
    await remember();
    await control.set({ drop_websockets: true });
    const gone = await untilInstance(agent, 0, 'told', hasFault('websocket-gone'), 20_000);
    expect(gone.ready).toBe(false);
    expect((await agent.get('/health/comfyui/instances/0')).status).toBe(503);
    await control.set({});
    await untilInstance(agent, 0, 'ready', ({ ready }) => ready, 30_000);
    await untilInstance(agent, 1, 'ready', ({ ready }) => ready, 30_000);
    other = await agent.instance(1);
  });
});

describe('an instance that crashes again and again', () => {
  afterEach(stopAgents);

  it('waits longer and longer, is quarantined while the other serves, and is set free by its canary', async () => {
    const control = controlFile(await newRoot());
    const agent = await startAgent({
      gpus: 2,
      environment: control.environment,
      config: {
        health: { ...HEALTH, backOff: { afterExits: 1, initialMs: 1_000 }, maxRestartsInWindow: 3, quarantine: { coolDownMs: 6_000 } },
      },
    });
    await agent.untilReady([0, 1]);
    const other = (await agent.instance(1)).pid;
    const held = new Set<string>();
    let killed: number | null = null;
    await eventually(
      'it is quarantined',
      async () => {
        const { status, pid, hold } = await agent.instance(0);
        if (hold !== null) held.add(hold.replace(/\d{4}-\S+/, 'T'));
        if (status === 'quarantined') return true;
        if (pid !== null && pid !== killed && pid > 1) {
          process.kill(pid, 'SIGKILL');
          killed = pid;
        }
        return false;
      },
      60_000,
    );
    expect([...held].some((text) => text.includes('it is started again at T'))).toBe(true);
    const quarantined = await agent.instance(0);
    expect(quarantined).toMatchObject({ ready: false, pid: null });
    expect(quarantined.verdicts[0]).toMatchObject({ fault: 'crash-loop' });
    expect((await agent.cli('status')).stdout).toMatch(/it is tried again at/);
    expect(await agent.instance(1)).toMatchObject({ ready: true, pid: other });
    const free = await untilInstance(agent, 0, 'free', ({ ready }) => ready, 60_000);
    expect(free).toMatchObject({ status: 'healthy', restarts: { inWindow: 0 } });
    expect((await agent.instance(1)).pid).toBe(other);
  });
});
