import type { Clock } from '../../ports/clock.ts';

/** More than a clock is slewed by in the time between two looks. */
const JUMP_MS = 2_000;

/**
 * The same clock, which tells when the wall clock was set or the machine slept: it and the monotonic clock no longer agree.
 * Told before the new time is given to anybody, so that no duration is taken over the gap. The loop asks for the time at least
 * every two seconds.
 */
export function watchClock(clock: Clock, onJump: (byMs: number) => void): Clock {
  let wall = clock.now();
  let steady = clock.monotonic();
  return {
    now: () => {
      const now = clock.now();
      const monotonic = clock.monotonic();
      const byMs = now - wall - (monotonic - steady);
      wall = now;
      steady = monotonic;
      if (Math.abs(byMs) >= JUMP_MS) onJump(Math.round(byMs));
      return now;
    },
    monotonic: () => clock.monotonic(),
    sleep: (ms, signal) => clock.sleep(ms, signal),
  };
}
