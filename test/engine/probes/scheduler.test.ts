import { describe, expect, it } from 'vitest';
import type { ProbeResult } from '../../../src/domain/health/health.ts';
import type { Outcome, Probe, ProbePorts, ProbeTarget } from '../../../src/probes/probe.ts';
import { cannotTell, fail, pass } from '../../../src/probes/probe.ts';
import { ProbeScheduler } from '../../../src/probes/scheduler.ts';
import { CANARY } from '../../fakes/assets.ts';
import { createFakeClock } from '../../fakes/clock.ts';
import { aConfig, NOW } from '../../support/machine/builders.ts';

const target = (change: Partial<ProbeTarget> = {}): ProbeTarget => ({
  gpu: 0,
  name: 'comfyui-gpu0',
  baseUrl: 'http://127.0.0.1:8188',
  tcpPort: 8188,
  pid: 1_000,
  incarnation: '1000@1',
  logFile: '/workspace/logs/comfyui-gpu0.log',
  config: aConfig(),
  expectedPacks: [],
  canary: CANARY,
  proof: null,
  ...change,
});

interface Scripted extends Probe {
  runs: number;
  atOnce: number;
  mostAtOnce: number;
}

/** A probe whose answers are given by the test. */
const scripted = (name: string, dueIn: Probe['dueIn'], run: (signal: AbortSignal) => Promise<Outcome> | Outcome): Scripted => {
  const probe: Scripted = {
    name,
    layer: 'runtime',
    dueIn,
    runs: 0,
    atOnce: 0,
    mostAtOnce: 0,
    run: async (_target, _ports, signal) => {
      probe.runs += 1;
      probe.atOnce += 1;
      probe.mostAtOnce = Math.max(probe.mostAtOnce, probe.atOnce);
      try {
        return await run(signal);
      } finally {
        probe.atOnce -= 1;
      }
    },
  };
  return probe;
};

const every =
  (periodMs: number): Probe['dueIn'] =>
  (history) =>
    history.latest('beat') === undefined ? 0 : periodMs;

function lab(...probes: Probe[]) {
  const clock = createFakeClock();
  const results: (ProbeResult & { readonly target: string })[] = [];
  const ports = { clock } as unknown as ProbePorts;
  const scheduler = new ProbeScheduler(ports, ({ name }, result) => void results.push({ ...result, target: name }), probes);
  return { clock, results, scheduler };
}

describe('the probe scheduler', () => {
  it('runs a probe when it is due, measured from its last end', async () => {
    const beat = scripted('beat', every(1_000), () => pass());
    const { clock, results, scheduler } = lab(beat);
    scheduler.setTargets([target()]);
    await clock.settle();
    expect(beat.runs).toBe(1);
    await clock.advance(999);
    expect(beat.runs).toBe(1);
    await clock.advance(1);
    expect(beat.runs).toBe(2);
    expect(results.map(({ at }) => at - NOW)).toEqual([0, 1_000]);
    await scheduler.stop();
  });

  it('asks a probe that was not due again after each result of another', async () => {
    const { promise, resolve } = Promise.withResolvers<void>();
    const beat = scripted('beat', every(1_000), async () => {
      await promise;
      return pass();
    });
    const after = scripted(
      'after',
      (history) => (history.everPassed('beat') && history.latest('after') === undefined ? 0 : null),
      () => pass(),
    );
    const { clock, scheduler } = lab(after, beat);
    scheduler.setTargets([target()]);
    await clock.advance(5_000);
    expect(after.runs).toBe(0);
    resolve();
    await clock.advance(5_000);
    expect(after.runs).toBe(1);
    await scheduler.stop();
  });

  it('a probe on hold for one incarnation runs again for the next', async () => {
    const once = scripted(
      'once',
      (history) => (history.latest('once') === undefined ? 0 : null),
      () => pass(),
    );
    const { clock, scheduler, results } = lab(once);
    scheduler.setTargets([target()]);
    await clock.advance(60_000);
    scheduler.setTargets([target()]);
    await clock.advance(60_000);
    expect(once.runs).toBe(1);
    scheduler.setTargets([target({ incarnation: '1001@2' })]);
    await clock.advance(60_000);
    expect(results.map(({ incarnation }) => incarnation)).toEqual(['1000@1', '1001@2']);
    await scheduler.stop();
  });

  it('drops the late result of an incarnation that is gone', async () => {
    const { promise, resolve } = Promise.withResolvers<Outcome>();
    let first = true;
    const slow = scripted(
      'slow',
      (history) => (history.latest('slow') === undefined ? 0 : null),
      () => {
        if (!first) return fail('the new one');
        first = false;
        return promise;
      },
    );
    const { clock, scheduler, results } = lab(slow);
    scheduler.setTargets([target()]);
    await clock.settle();
    scheduler.setTargets([target({ incarnation: '1001@2' })]);
    await clock.settle();
    resolve(pass());
    await clock.advance(60_000);
    expect(results.map(({ incarnation, outcome }) => [incarnation, outcome])).toEqual([['1001@2', 'fail']]);
    await scheduler.stop();
  });

  it('tells the probe of an incarnation that is gone to end', async () => {
    let cut = false;
    const waiting = scripted('waiting', every(1), (signal) => {
      signal.addEventListener('abort', () => {
        cut = true;
      });
      return new Promise<Outcome>((resolve) => signal.addEventListener('abort', () => resolve(cannotTell('cut'))));
    });
    const { clock, scheduler } = lab(waiting);
    scheduler.setTargets([target()]);
    await clock.settle();
    scheduler.setTargets([]);
    expect(cut).toBe(true);
    await clock.advance(10_000);
    expect(waiting.runs).toBe(1);
    await scheduler.stop();
  });

  it('an instance that moved to another port is another target', async () => {
    const once = scripted(
      'once',
      (history) => (history.latest('once') === undefined ? 0 : null),
      () => pass(),
    );
    const { clock, scheduler } = lab(once);
    scheduler.setTargets([target()]);
    await clock.settle();
    scheduler.setTargets([target({ tcpPort: 8190 })]);
    await clock.settle();
    expect(once.runs).toBe(2);
    await scheduler.stop();
  });

  it('a probe that throws is unknown, with its reason, and runs again', async () => {
    const beat = scripted('beat', every(1_000), () => {
      throw new Error('the log cannot be read');
    });
    const { clock, scheduler, results } = lab(beat);
    scheduler.setTargets([target()]);
    await clock.advance(1_000);
    expect(results).toHaveLength(2);
    expect(results[0]).toMatchObject({ outcome: 'unknown', reason: 'the beat probe itself failed: the log cannot be read' });
    await scheduler.stop();
  });

  it('never runs one twice at once, however slow it is and however often targets are set', async () => {
    const clock = createFakeClock();
    const slow = scripted('beat', every(100), async () => {
      await clock.sleep(5_000);
      return pass();
    });
    const other = scripted(
      'other',
      (history) => (history.latest('other') === undefined ? 0 : 50),
      () => pass(),
    );
    const scheduler = new ProbeScheduler({ clock } as unknown as ProbePorts, () => undefined, [slow, other]);
    for (let looks = 0; looks < 100; looks++) {
      scheduler.setTargets([target()]);
      await clock.advance(200);
    }
    expect(slow.mostAtOnce).toBe(1);
    expect(slow.runs).toBe(4);
    const stopping = scheduler.stop();
    await clock.advance(5_000);
    await stopping;
  });

  it('measures how long a probe took', async () => {
    const clock = createFakeClock();
    const slow = scripted('beat', every(100), async () => {
      await clock.sleep(1_500);
      return pass({ running: 1 });
    });
    const results: ProbeResult[] = [];
    const scheduler = new ProbeScheduler({ clock } as unknown as ProbePorts, (_, result) => void results.push(result), [slow]);
    scheduler.setTargets([target()]);
    await clock.advance(1_500);
    expect(results[0]).toMatchObject({ durationMs: 1_500, at: NOW + 1_500, facts: { running: 1 } });
    const stopping = scheduler.stop();
    await clock.advance(5_000);
    await stopping;
  });

  it('stop waits for what runs, also for the probe of an incarnation that is gone, and nothing runs afterwards', async () => {
    const { promise, resolve } = Promise.withResolvers<Outcome>();
    const slow = scripted('beat', every(100), () => promise);
    const { clock, scheduler, results } = lab(slow);
    scheduler.setTargets([target()]);
    await clock.settle();
    scheduler.setTargets([]);
    let isOver = false;
    const stopping = scheduler.stop().then(() => {
      isOver = true;
    });
    await clock.advance(10_000);
    expect(isOver).toBe(false);
    resolve(pass());
    await stopping;
    scheduler.setTargets([target()]);
    await clock.advance(10_000);
    expect(slow.runs).toBe(1);
    expect(results).toEqual([]);
    expect(clock.sleepers).toBe(0);
  });

  it('runs a probe at once when it is hastened, once more when it runs already, and not when it is not due', async () => {
    const gates: (() => void)[] = [];
    const probe = scripted('beat', every(10_000), () => new Promise((done) => gates.push(() => done(pass()))));
    const idle = scripted(
      'idle',
      () => null,
      () => pass(),
    );
    const { clock, scheduler } = lab(probe, idle);
    scheduler.setTargets([target()]);
    await clock.advance(0);
    scheduler.hasten('comfyui-gpu0', 'beat');
    expect(probe.runs).toBe(1);
    gates.shift()?.();
    await clock.advance(0);
    expect(probe.runs).toBe(2);
    gates.shift()?.();
    await clock.advance(1_000);
    expect(probe.runs).toBe(2);
    for (const name of ['beat', 'idle']) scheduler.hasten('comfyui-gpu0', name);
    scheduler.hasten('comfyui-gpu9', 'beat');
    await clock.advance(0);
    expect([probe.runs, idle.runs]).toEqual([3, 0]);
    gates.shift()?.();
    await clock.advance(9_999);
    expect(probe.runs).toBe(3);
    await clock.advance(1);
    expect(probe.runs).toBe(4);
    gates.shift()?.();
    await scheduler.stop();
  });
});
