import { isAgentError } from '../domain/errors/errors.ts';
import type { ComfyQueue } from '../ports/comfyui.ts';
import { cannotTell, fail, type Outcome, type Probe, pass, STARTING_PERIOD_MS } from './probe.ts';

const NO_JOBS: ComfyQueue = { running: 0, pending: 0, runningIds: [] };
/** While jobs wait and none runs. */
const WAITING_PERIOD_MS = 1_000;

/** Since when jobs wait though none runs, and since when the same job runs: what has been so for long is a fault. Epoch ms. */
function queueTimes(queue: ComfyQueue, before: Outcome['facts'], now: number) {
  const head = queue.runningIds[0] ?? null;
  const since = (name: string): number => (typeof before?.[name] === 'number' ? before[name] : now);
  return {
    waitingSince: queue.running === 0 && queue.pending > 0 ? since('waitingSince') : null,
    head,
    headSince: head === null ? null : head === before?.['head'] ? since('headSince') : now,
  };
}

/** Runtime: the server answers. `GET /prompt` is its cheapest route and never touches the GPU (reference comfyui.md section 2). */
export const httpProbe: Probe = {
  name: 'http',
  layer: 'runtime',
  dueIn: (history, config) => {
    const latest = history.latest('http');
    if (latest === undefined) return 0;
    if (!history.everPassed('http')) return STARTING_PERIOD_MS;
    if (typeof latest.facts?.['waitingSince'] === 'number') return Math.min(WAITING_PERIOD_MS, config.health.http.periodMs);
    return Math.max(0, config.health.http.periodMs - (latest.outcome === 'pass' ? 0 : latest.durationMs));
  },
  run: async (target, { comfy, clock }, _signal, history) => {
    const before = history.latest('http')?.facts;
    const { timeoutMs } = target.config.health.http;
    try {
      const { queueRemaining } = await comfy.ping(target.baseUrl, timeoutMs);
      const queue = queueRemaining === 0 ? NO_JOBS : await comfy.queue(target.baseUrl, timeoutMs);
      return pass({ running: queue.running, pending: queue.pending, ...queueTimes(queue, before, clock.now()) });
    } catch (error) {
      if (!isAgentError(error)) return cannotTell(`HTTP could not be asked: ${error instanceof Error ? error.message : String(error)}`);
      const { waitingSince, head, headSince } = before ?? {};
      const facts = { kind: error.details['kind'], status: error.details['status'], waitingSince, head, headSince };
      const { kind } = facts;
      if (kind === 'timeout') return fail(`the process runs but has not answered HTTP for ${timeoutMs} ms (hung or stopped)`, facts);
      if (kind === 'refused') return fail(`port ${target.tcpPort} refuses connections`, facts);
      return fail(`HTTP answered wrongly: ${error.message}`, facts);
    }
  },
};
