import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { nextTrial, type Trial } from '../../../../src/plan/installation/requirements.ts';

/** Answers trials from a list of conflicts: sets that cannot be met together. A set of one never fits. */
function drive(
  labels: readonly string[],
  conflicts: readonly (readonly string[])[],
  named: (broken: readonly string[]) => readonly string[],
) {
  const trials: Trial[] = [];
  for (;;) {
    const next = nextTrial(labels, trials);
    if (next.done) return { ...next, trials };
    if (trials.length > 10 * labels.length + 10) throw new Error('no end');
    const broken = conflicts.find((conflict) => conflict.every((label) => next.labels.includes(label)));
    trials.push({
      labels: next.labels,
      failure: broken === undefined ? null : { labels: named(broken), reason: `${broken.join('+')} clash` },
    });
  }
}

const labelsOf = (count: number): string[] => Array.from({ length: count }, (_, i) => `pack-${i}`);
const scenario = fc.integer({ min: 0, max: 14 }).chain((count) =>
  fc.record({
    labels: fc.constant(labelsOf(count)),
    conflicts:
      count === 0
        ? fc.constant<number[][]>([])
        : fc.array(fc.uniqueArray(fc.integer({ min: 0, max: count - 1 }), { minLength: 1, maxLength: 3 }), { maxLength: 5 }),
    naming: fc.constantFrom<'all' | 'first' | 'none' | 'strangers'>('all', 'first', 'none', 'strangers'),
  }),
);
const naming = {
  all: (broken: readonly string[]) => broken,
  first: (broken: readonly string[]) => broken.slice(0, 1),
  none: () => [],
  strangers: () => ['ComfyUI'],
};

describe('which packs fit together', () => {
  it('a set without conflicts is accepted in one trial', () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 60 }), (count) => {
        const outcome = drive(labelsOf(count), [], naming.all);
        expect(outcome.accepted).toEqual(labelsOf(count));
        expect(outcome.rejected).toEqual([]);
        expect(outcome.trials).toHaveLength(1);
      }),
    );
  });

  it('every rejected pack failed as the only addition to accepted ones, and what is accepted fits', () => {
    fc.assert(
      fc.property(scenario, ({ labels, conflicts: indices, naming: kind }) => {
        const conflicts = indices.map((conflict) => conflict.map((i) => `pack-${i}`));
        const outcome = drive(labels, conflicts, naming[kind]);
        expect([...outcome.accepted, ...outcome.rejected.map(({ label }) => label)].sort()).toEqual([...labels].sort());
        expect(conflicts.some((conflict) => conflict.every((label) => outcome.accepted.includes(label)))).toBe(false);
        for (const { label } of outcome.rejected) {
          expect(
            outcome.trials.some(
              (trial) =>
                trial.failure !== null &&
                trial.labels.includes(label) &&
                trial.labels.every((other) => other === label || outcome.accepted.includes(other)),
            ),
          ).toBe(true);
        }
      }),
      { numRuns: 500 },
    );
  });

  it('what is accepted fits, and from what is rejected none can be spared', () => {
    fc.assert(
      fc.property(scenario, ({ labels, conflicts: indices, naming: kind }) => {
        const conflicts = indices.map((conflict) => conflict.map((i) => `pack-${i}`));
        const fits = (set: readonly string[]) => !conflicts.some((conflict) => conflict.every((label) => set.includes(label)));
        const { accepted, rejected } = drive(labels, conflicts, naming[kind]);
        expect(fits(accepted)).toBe(true);
        for (const { label } of rejected) expect(fits([...accepted, label])).toBe(false);
      }),
      { numRuns: 500 },
    );
  });

  it('the last trial that fitted is the set that is accepted', () => {
    fc.assert(
      fc.property(scenario, ({ labels, conflicts: indices, naming: kind }) => {
        const conflicts = indices.map((conflict) => conflict.map((i) => `pack-${i}`));
        const { accepted, trials } = drive(labels, conflicts, naming[kind]);
        expect(trials.findLast((trial) => trial.failure === null)?.labels ?? []).toEqual(accepted);
      }),
    );
  });

  it('one conflict pair among many needs about twice log2 of them, however many are suspected', () => {
    fc.assert(
      fc.property(
        fc.uniqueArray(fc.integer({ min: 0, max: 59 }), { minLength: 2, maxLength: 2 }),
        fc.uniqueArray(fc.integer({ min: 0, max: 59 }), { maxLength: 60 }),
        (pair, suspects) => {
          const conflict = pair.map((i) => `pack-${i}`);
          const named = [...new Set([...conflict, ...suspects.map((i) => `pack-${i}`)])];
          const outcome = drive(labelsOf(60), [conflict], () => named);
          expect(outcome.rejected).toHaveLength(1);
          expect(outcome.trials.length).toBeLessThanOrEqual(2 * Math.ceil(Math.log2(60)) + 2);
        },
      ),
      { numRuns: 300 },
    );
  });

  it('a named conflict in many packs costs few trials, and the earlier pack wins', () => {
    const labels = labelsOf(60);
    const outcome = drive(labels, [['pack-7', 'pack-41']], naming.all);
    expect(outcome.rejected).toEqual([{ label: 'pack-41', reason: 'pack-7+pack-41 clash' }]);
    expect(outcome.trials.length).toBeLessThanOrEqual(4);
  });

  it('a failure that names nobody is halved, not tried one by one', () => {
    const outcome = drive(labelsOf(64), [['pack-50']], naming.none);
    expect(outcome.rejected.map(({ label }) => label)).toEqual(['pack-50']);
    expect(outcome.trials.length).toBeLessThanOrEqual(16);
  });

  it('nothing to do is done at once', () => {
    expect(nextTrial([], [])).toEqual({ done: true, accepted: [], rejected: [] });
  });
});
