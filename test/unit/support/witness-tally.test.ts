import { describe, expect, it } from 'vitest';
import { createTally, HOST_LOST, type Sample, type Tally } from '../../support/faults/witness-tally.ts';

/** The witness of the storm must be able to accuse: each kind of wrong claim, and none where health was right. */

const STEP_MS = 100;
const ready = { ready: true, status: 'healthy', pid: 7 };
const red = { ready: false, status: 'unhealthy', pid: 7 };

function feed(tally: Tally, from: number, ms: number, sample: Pick<Sample, 'serves' | 'claim'>): number {
  for (let at = from; at < from + ms; at += STEP_MS) tally.add(0, { at, expected: true, healthMs: 1, ...sample });
  return from + ms;
}

function aTally(): { tally: Tally; at: (ms: number) => void } {
  let now = 0;
  return {
    tally: createTally(() => now),
    at: (ms) => {
      now = ms;
    },
  };
}

describe('the witness', () => {
  it('has nothing to say of an instance that serves and is called ready', () => {
    const { tally } = aTally();
    feed(tally, 0, 60_000, { serves: true, claim: ready });
    expect(tally.report()).toMatchObject({ faultMs: 0, falseGreenMs: 0, greenWithinLimitsMs: 0, falseRedMs: 0, unknownMs: 0, lies: [] });
  });

  it('allows green within the limit of the fault, and counts what is beyond it', () => {
    const { tally, at } = aTally();
    let time = feed(tally, 0, 10_000, { serves: true, claim: ready });
    at(time);
    tally.fault(0, 'hang', 5_000);
    time = feed(tally, time, 8_000, { serves: false, claim: ready });
    feed(tally, time, 2_000, { serves: false, claim: red });
    const report = tally.report();
    expect(report.faultMs).toBe(10_000);
    expect(report.falseGreenMs).toBeGreaterThan(2_500);
    expect(report.falseGreenMs).toBeLessThan(3_500);
    expect(report.lies).toMatchObject([{ kind: 'green', fault: 'hang', gpu: 0 }]);
  });

  it('counts red of an instance that has been serving for long, but not while it starts', () => {
    const { tally } = aTally();
    let time = feed(tally, 0, 2_000, { serves: false, claim: red });
    time = feed(tally, time, 4_000, { serves: true, claim: red });
    expect(tally.report().falseRedMs).toBe(0);
    time = feed(tally, time, 20_000, { serves: true, claim: ready });
    feed(tally, time, 3_000, { serves: true, claim: red });
    expect(tally.report().falseRedMs).toBeGreaterThan(2_500);
    expect(tally.report().lies).toMatchObject([{ kind: 'red' }]);
  });

  it('believes that an instance leaves whose PM2 was killed, and nobody else', () => {
    const draining = { serves: true, claim: { ...red, status: 'draining' } };
    const { tally } = aTally();
    let time = feed(tally, 0, 20_000, { serves: true, claim: ready });
    tally.fault(0, HOST_LOST, 10_000);
    time = feed(tally, time, 1_000, draining);
    expect(tally.report().falseRedMs).toBe(0);
    time = feed(tally, time, 1_000, { serves: false, claim: red });
    time = feed(tally, time, 20_000, { serves: true, claim: ready });
    feed(tally, time, 1_000, draining);
    expect(tally.report().falseRedMs).toBeGreaterThan(500);
  });

  it('keeps unknown apart from red', () => {
    const { tally } = aTally();
    const time = feed(tally, 0, 20_000, { serves: true, claim: ready });
    feed(tally, time, 1_000, { serves: true, claim: { ...red, status: 'unknown' } });
    expect(tally.report()).toMatchObject({ falseRedMs: 0 });
    expect(tally.report().unknownMs).toBeGreaterThan(800);
  });

  it('believes the injector that an instance is of no use, whatever HTTP says', () => {
    const { tally, at } = aTally();
    const time = feed(tally, 0, 10_000, { serves: true, claim: ready });
    at(time);
    tally.useless(0, 'worker', 1_000);
    feed(tally, time, 5_000, { serves: true, claim: ready });
    expect(tally.report().falseGreenMs).toBeGreaterThan(3_500);
  });

  it('counts answers that did not come as errors, but only where they were due', () => {
    const { tally } = aTally();
    tally.add(0, { at: 0, serves: true, claim: null, expected: false, healthMs: null });
    tally.add(0, { at: 100, serves: true, claim: null, expected: true, healthMs: null });
    expect(tally.report().health.errors).toBe(1);
  });
});
