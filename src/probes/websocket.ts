import { isAgentError } from '../domain/errors/errors.ts';
import { cannotTell, fail, type Probe, pass } from './probe.ts';

/** A connection that is closed this soon after its greeting is of no use to anybody. */
const HOLD_MS = 1_000;
const RETRY_MS = 1_000;
/** What is broken is looked at this often at least: it must not be called so for long after it is not. */
const LONGEST_RETRY_MS = 2_000;

/** Runtime: results of jobs can be followed. Only while HTTP answers; a connection that fails is tried again soon. */
export const websocketProbe: Probe = {
  name: 'websocket',
  layer: 'runtime',
  dueIn: (history, config) => {
    if (history.latest('http')?.outcome !== 'pass') return null;
    const latest = history.latest('websocket');
    if (latest === undefined) return 0;
    const { periodMs } = config.health.websocket;
    if (latest.outcome !== 'fail') return periodMs;
    const failures = Number(latest.facts?.['failures'] ?? 1);
    return Math.min(periodMs, LONGEST_RETRY_MS, RETRY_MS * failures);
  },
  run: async (target, { comfy }, _signal, history) => {
    const before = history.latest('websocket');
    const failures = before?.outcome === 'fail' ? Number(before.facts?.['failures'] ?? 0) + 1 : 1;
    try {
      await comfy.webSocket(target.baseUrl, target.config.health.websocket.timeoutMs, HOLD_MS);
      return pass();
    } catch (error) {
      if (!isAgentError(error)) return cannotTell(`the WebSocket could not be asked: ${String(error)}`);
      return fail(`no WebSocket: ${error.message}`, { failures });
    }
  },
};
