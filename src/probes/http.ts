import { isAgentError } from '../domain/errors.ts';
import { cannotTell, fail, type Probe, pass, STARTING_PERIOD_MS } from './probe.ts';

/** Runtime: the server answers. `GET /prompt` is its cheapest route and never touches the GPU (reference comfyui.md section 2). */
export const httpProbe: Probe = {
  name: 'http',
  layer: 'runtime',
  dueIn: (history, config) => {
    const latest = history.latest('http');
    if (latest === undefined) return 0;
    if (!history.everPassed('http')) return STARTING_PERIOD_MS;
    return Math.max(0, config.health.http.periodMs - (latest.outcome === 'pass' ? 0 : latest.durationMs));
  },
  run: async (target, { comfy }) => {
    const { timeoutMs } = target.config.health.http;
    try {
      const { queueRemaining } = await comfy.ping(target.baseUrl, timeoutMs);
      if (queueRemaining === 0) return pass({ running: 0, pending: 0 });
      const queue = await comfy.queue(target.baseUrl, timeoutMs);
      return pass({ running: queue.running, pending: queue.pending });
    } catch (error) {
      if (!isAgentError(error)) return cannotTell(`HTTP could not be asked: ${error instanceof Error ? error.message : String(error)}`);
      const kind = error.details['kind'];
      if (kind === 'timeout') return fail(`the process runs but has not answered HTTP for ${timeoutMs} ms (hung or stopped)`, { kind });
      if (kind === 'refused') return fail(`port ${target.tcpPort} refuses connections`, { kind });
      return fail(`HTTP answered wrongly: ${error.message}`, { kind });
    }
  },
};
