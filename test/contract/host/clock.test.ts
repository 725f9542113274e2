import { describe, expect, it } from 'vitest';
import { createClock } from '../../../src/adapters/host/clock.ts';
import type { Clock } from '../../../src/ports/clock.ts';
import { createFakeClock } from '../../fakes/clock.ts';

interface Harness {
  readonly clock: Clock;
  /** Lets at least this much time pass. */
  pass(ms: number): Promise<void>;
}

const fake = (): Harness => {
  const clock = createFakeClock();
  return { clock, pass: (ms) => clock.advance(ms) };
};
const real = (): Harness => ({ clock: createClock(), pass: (ms) => new Promise((done) => setTimeout(done, ms + 20)) });

describe.each([
  ['fake', fake],
  ['real', real],
] as const)('Clock, %s', (_name, open) => {
  it('wall time and monotonic time both go on', async () => {
    const { clock, pass } = open();
    const [now, monotonic] = [clock.now(), clock.monotonic()];
    expect(new Date(now).getUTCFullYear()).toBeGreaterThanOrEqual(2024);
    await pass(20);
    expect(clock.now()).toBeGreaterThan(now);
    expect(clock.monotonic()).toBeGreaterThanOrEqual(monotonic + 20);
  });

  it('a sleep ends when its time has passed, the shorter one first', async () => {
    const { clock, pass } = open();
    const woken: string[] = [];
    const sleeps = [
      clock.sleep(60).then(() => woken.push('long')),
      clock.sleep(10).then(() => woken.push('short')),
      clock.sleep(0).then(() => woken.push('none')),
    ];
    expect(woken).toEqual([]);
    await pass(60);
    await Promise.all(sleeps);
    expect(woken).toEqual(['none', 'short', 'long']);
  });

  it('a sleep of years does not end at once', async () => {
    const { clock, pass } = open();
    const stop = new AbortController();
    let isOver = false;
    const sleep = clock.sleep(2 ** 33, stop.signal).finally(() => {
      isOver = true;
    });
    await pass(30);
    expect(isOver).toBe(false);
    stop.abort();
    await expect(sleep).rejects.toMatchObject({ name: 'AbortError' });
  });

  it('a sleep is cut by its signal, before and while', async () => {
    const { clock } = open();
    await expect(clock.sleep(60_000, AbortSignal.abort())).rejects.toMatchObject({ name: 'AbortError' });
    const stop = new AbortController();
    const sleep = clock.sleep(60_000, stop.signal);
    stop.abort();
    await expect(sleep).rejects.toMatchObject({ name: 'AbortError' });
  });
});
