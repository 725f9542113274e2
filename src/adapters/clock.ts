import { setTimeout as pause } from 'node:timers/promises';
import type { Clock } from '../ports.ts';

/** Wall time for people, monotonic time for durations. A sleep that is cut rejects with the signal's AbortError. */
export function createClock(): Clock {
  return {
    now: () => Date.now(),
    monotonic: () => performance.now(),
    sleep: async (ms, signal) => {
      await pause(ms, undefined, signal === undefined ? {} : { signal });
    },
  };
}
