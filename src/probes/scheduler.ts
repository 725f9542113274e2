import type { ProbeResult } from '../domain/health/health.ts';
import { hasMoments, movedResult } from '../domain/health/probe-times.ts';
import { instanceProbes } from './index.ts';
import type { Outcome, Probe, ProbeHistory, ProbePorts, ProbeTarget } from './probe.ts';

/** Results of one incarnation. */
interface Track {
  readonly target: ProbeTarget;
  readonly abort: AbortController;
  readonly results: Map<string, ProbeResult>;
  readonly passed: Set<string>;
  /** Probes that run or wait for their time. */
  readonly active: Set<string>;
  /** Ends the wait of a probe. */
  readonly waiting: Map<string, () => void>;
  /** Probes to be run at once when they come to their end. */
  readonly hastened: Set<string>;
}

const historyOf = (track: Track): ProbeHistory => ({
  latest: (probe) => track.results.get(probe),
  everPassed: (probe) => track.passed.has(probe),
});

/**
 * Runs every probe of every instance at its time. Results of one incarnation die with it; a probe never runs twice at
 * once for one target; after each result the probes that were not due are asked again.
 */
export class ProbeScheduler {
  readonly #tracks = new Map<string, Track>();
  readonly #ports: ProbePorts;
  readonly #onResult: (target: ProbeTarget, result: ProbeResult) => void;
  readonly #probes: readonly Probe[];
  /** Probes under way, those of earlier incarnations too. */
  readonly #running = new Set<Promise<void>>();
  #stopped = false;
  /** How often the wall clock was set. */
  #jumps = 0;

  constructor(ports: ProbePorts, onResult: (target: ProbeTarget, result: ProbeResult) => void, probes: readonly Probe[] = instanceProbes) {
    this.#ports = ports;
    this.#onResult = onResult;
    this.#probes = probes;
  }

  /** Names the instances that have a process now. A target with another incarnation replaces the old one. */
  setTargets(targets: readonly ProbeTarget[]): void {
    if (this.#stopped) return;
    const wanted = new Map(targets.map((target) => [target.name, target]));
    for (const [name, track] of this.#tracks) {
      const target = wanted.get(name);
      if (target?.incarnation === track.target.incarnation && target.tcpPort === track.target.tcpPort) continue;
      track.abort.abort();
      this.#tracks.delete(name);
    }
    for (const target of targets) {
      if (this.#tracks.has(target.name)) continue;
      const track: Track = {
        target,
        abort: new AbortController(),
        results: new Map(),
        passed: new Set(),
        active: new Set(),
        waiting: new Map(),
        hastened: new Set(),
      };
      if (target.proof !== null) {
        track.results.set(target.proof.probe, target.proof);
        track.passed.add(target.proof.probe);
      }
      this.#tracks.set(target.name, track);
      this.#arm(track);
    }
  }

  /** Runs a probe now that waits for its time; one that runs already is run once more. One that is not due stays so. */
  hasten(name: string, probe: string): void {
    const track = this.#tracks.get(name);
    const stopWaiting = track?.waiting.get(probe);
    if (stopWaiting !== undefined) stopWaiting();
    else if (track?.active.has(probe)) track.hastened.add(probe);
  }

  /** The wall clock was set: what was seen is as long ago as it was, and probes under way are asked again. */
  clockJumped(byMs: number): void {
    this.#jumps += 1;
    for (const { results } of this.#tracks.values()) for (const [name, result] of results) results.set(name, movedResult(result, byMs));
  }

  /** For good; probes that run are waited for. */
  async stop(): Promise<void> {
    this.#stopped = true;
    for (const track of this.#tracks.values()) track.abort.abort();
    this.#tracks.clear();
    await Promise.allSettled(this.#running);
  }

  #arm(track: Track): void {
    if (track.abort.signal.aborted) return;
    const history = historyOf(track);
    for (const probe of this.#probes) {
      if (track.active.has(probe.name)) continue;
      const dueMs = probe.dueIn(history, track.target.config);
      if (dueMs === null) continue;
      const delayMs = track.hastened.delete(probe.name) ? 0 : dueMs;
      track.active.add(probe.name);
      const run = this.#runAfter(track, probe, delayMs);
      this.#running.add(run);
      void run.finally(() => this.#running.delete(run));
    }
  }

  async #runAfter(track: Track, probe: Probe, delayMs: number): Promise<void> {
    const { signal } = track.abort;
    const { clock } = this.#ports;
    try {
      if (delayMs > 0) {
        const hurry = new AbortController();
        track.waiting.set(probe.name, () => hurry.abort());
        await clock.sleep(delayMs, AbortSignal.any([signal, hurry.signal])).catch((error: unknown) => {
          if (!hurry.signal.aborted) throw error;
        });
        track.waiting.delete(probe.name);
      }
      if (signal.aborted) return;
      const startedAt = clock.monotonic();
      const jumps = this.#jumps;
      const outcome = await this.#observe(track, probe);
      // Asked for first: it is then that a jump of the clock is noticed.
      const at = clock.now();
      if (signal.aborted || (jumps !== this.#jumps && hasMoments(outcome.facts))) return;
      const result: ProbeResult = {
        probe: probe.name,
        layer: probe.layer,
        incarnation: track.target.incarnation,
        at,
        durationMs: Math.round(clock.monotonic() - startedAt),
        ...outcome,
      };
      track.results.set(probe.name, result);
      if (result.outcome === 'pass') track.passed.add(probe.name);
      this.#onResult(track.target, result);
    } catch {
      // Only the sleep can be cut, by the end of the incarnation.
    } finally {
      track.active.delete(probe.name);
      this.#arm(track);
    }
  }

  async #observe(track: Track, probe: Probe): Promise<Outcome> {
    try {
      return await probe.run(track.target, this.#ports, track.abort.signal, historyOf(track));
    } catch (error) {
      return {
        outcome: 'unknown',
        reason: `the ${probe.name} probe itself failed: ${error instanceof Error ? error.message : String(error)}`,
      };
    }
  }
}
