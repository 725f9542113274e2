import type { Clock } from '../../src/ports/clock.ts';
import { NOW } from '../support/machine/builders.ts';

export interface FakeClock extends Clock {
  /** Lets time pass: whoever sleeps wakes at its moment, in order, and what it then does is waited for. */
  advance(ms: number): Promise<void>;
  /** Waits for everything that can happen without time. */
  settle(): Promise<void>;
  /** The wall clock is set: forwards, or back when negative. No time passes. */
  jump(ms: number): void;
  /** By how much in all. */
  readonly jumped: number;
  /** Sleeps that have not ended. */
  readonly sleepers: number;
}

interface Sleeper {
  readonly at: number;
  readonly wake: () => void;
}

/** All promises that wait for no clock have moved on as far as they can once the event loop turns. */
const settle = (): Promise<void> => new Promise((done) => setImmediate(done));

/** A clock that stands still until it is told to go on. */
export function createFakeClock(start = NOW): FakeClock {
  const sleepers = new Set<Sleeper>();
  let elapsed = 0;
  let jumped = 0;
  return {
    now: () => start + elapsed + jumped,
    monotonic: () => elapsed,
    sleep: (ms, signal) =>
      new Promise((wake, cut) => {
        const aborted = () => {
          sleepers.delete(sleeper);
          cut(new DOMException('The operation was aborted', 'AbortError'));
        };
        const sleeper: Sleeper = {
          at: elapsed + ms,
          wake: () => {
            signal?.removeEventListener('abort', aborted);
            wake();
          },
        };
        if (signal?.aborted) return aborted();
        signal?.addEventListener('abort', aborted, { once: true });
        sleepers.add(sleeper);
      }),
    advance: async (ms) => {
      const end = elapsed + ms;
      await settle();
      for (;;) {
        const next = [...sleepers].filter((sleeper) => sleeper.at <= end).sort((a, b) => a.at - b.at)[0];
        if (next === undefined) break;
        elapsed = Math.max(elapsed, next.at);
        sleepers.delete(next);
        next.wake();
        await settle();
      }
      elapsed = Math.max(elapsed, end);
      await settle();
    },
    settle,
    jump: (ms) => {
      jumped += ms;
    },
    get jumped() {
      return jumped;
    },
    get sleepers() {
      return sleepers.size;
    },
  };
}
