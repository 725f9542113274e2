import { setTimeout as pause } from 'node:timers/promises';
import type { Clock } from '../../ports/clock.ts';

/** Timers hold 31 bits of milliseconds; longer ones would fire at once. */
const LONGEST_TIMER_MS = 2 ** 31 - 1;

/** Wall time for people, monotonic time for durations. A sleep that is cut rejects with the signal's AbortError. */
export function createClock(): Clock {
  return {
    now: () => Date.now(),
    monotonic: () => performance.now(),
    sleep: async (ms, signal) => {
      const options = signal === undefined ? {} : { signal };
      let left = ms;
      for (; left > LONGEST_TIMER_MS; left -= LONGEST_TIMER_MS) await pause(LONGEST_TIMER_MS, undefined, options);
      await pause(Math.max(0, left), undefined, options);
    },
  };
}
