import type { CliHost } from './host.ts';

/** Why a wait ended early. */
export type Ended = 'interrupted' | 'timeout';

export interface Patience {
  readonly signal: AbortSignal;
  /** Null while nothing ended it. */
  readonly ended: Ended | null;
  dispose(): void;
}

/** Ends a wait at Ctrl-C or after `timeoutMs`. */
export function patience(host: CliHost, timeoutMs: number | null): Patience {
  const abort = new AbortController();
  let ended: Ended | null = null;
  const end = (reason: Ended) => {
    ended ??= reason;
    abort.abort();
  };
  const timer = timeoutMs === null ? null : setTimeout(() => end('timeout'), timeoutMs);
  const stopListening = host.onInterrupt(() => end('interrupted'));
  return {
    signal: abort.signal,
    get ended() {
      return ended;
    },
    dispose() {
      if (timer !== null) clearTimeout(timer);
      stopListening();
    },
  };
}

/** Sleeps until the time is over or the signal ends it. */
export const pause = (ms: number, signal: AbortSignal): Promise<void> =>
  new Promise((resolve) => {
    if (signal.aborted) return resolve();
    const done = () => {
      clearTimeout(timer);
      signal.removeEventListener('abort', done);
      resolve();
    };
    const timer = setTimeout(done, ms);
    signal.addEventListener('abort', done, { once: true });
  });
