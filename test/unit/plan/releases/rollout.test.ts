import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { Rollout } from '../../../../src/domain/state/state.ts';
import { planRollout, type RolloutInput, type RolloutMember, type Watch, watchMember } from '../../../../src/plan/releases/rollout.ts';
import { NOW } from '../../../support/machine/builders.ts';

const aRollout = (change: Partial<Rollout> = {}): Rollout => ({
  from: 'old',
  to: 'new',
  startedAt: NOW,
  serving: [0, 1, 2],
  direction: 'forward',
  reason: 'release new was proved',
  atOnce: false,
  rejected: null,
  ...change,
});
const aWatch = (change: Partial<Watch> = {}): Watch => ({
  since: NOW,
  progressAt: NOW,
  mark: '',
  brokenSince: null,
  ends: 0,
  lastEnd: null,
  ...change,
});
const aMember = (gpu: number, change: Partial<RolloutMember> = {}): RolloutMember => ({
  gpu,
  wanted: true,
  quarantined: null,
  release: 'old',
  up: true,
  reason: null,
  watch: null,
  ...change,
});
const moved = (gpu: number, change: Partial<RolloutMember> = {}): RolloutMember =>
  aMember(gpu, { release: 'new', watch: aWatch(), ...change });
const starting = (gpu: number, change: Partial<Watch> = {}, more: Partial<RolloutMember> = {}): RolloutMember =>
  moved(gpu, { up: false, watch: aWatch(change), reason: 'starting', ...more });
const planned = (members: readonly RolloutMember[], change: Partial<RolloutInput> = {}) =>
  planRollout({ rollout: aRollout(), current: 'new', members, noProgressMs: 60_000, now: NOW, ...change });

describe('the next step of a rollout', () => {
  const cases: readonly [
    string,
    readonly RolloutMember[],
    Partial<RolloutInput>,
    { verdict: string; next?: readonly number[]; moved?: number; total?: number },
  ][] = [
    ['switches current first', [aMember(0)], { current: 'old' }, { verdict: 'switch', next: [] }],
    ['switches when nothing is current', [aMember(0)], { current: null }, { verdict: 'switch' }],
    ['moves the first GPU', [aMember(1), aMember(0)], {}, { verdict: 'moving', next: [0], moved: 0, total: 2 }],
    ['waits for the one that moved', [starting(0), aMember(1)], {}, { verdict: 'moving', next: [], moved: 0 }],
    ['goes on when it is up', [moved(0), aMember(1), aMember(2)], {}, { verdict: 'moving', next: [1], moved: 1, total: 3 }],
    ['waits for one whose entry is gone', [aMember(0, { release: null, up: false }), aMember(1)], {}, { verdict: 'moving', next: [] }],
    ['is done when all are up', [moved(0), moved(1)], {}, { verdict: 'done', next: [], moved: 2 }],
    ['has nothing to do without instances', [], {}, { verdict: 'done', moved: 0, total: 0 }],
    ['moves those first that do not serve', [aMember(0), aMember(1, { up: false })], {}, { verdict: 'moving', next: [1] }],
    [
      'moves all that do not serve together',
      [aMember(2, { up: false }), aMember(1, { up: false })],
      {},
      { verdict: 'moving', next: [1, 2] },
    ],
    [
      'asks nothing of one that did not serve before',
      [starting(0), aMember(1)],
      { rollout: aRollout({ serving: [1] }) },
      { verdict: 'moving', next: [1] },
    ],
    ['leaves the stopped alone', [aMember(0, { wanted: false }), moved(1)], {}, { verdict: 'done', total: 1 }],
    ['leaves the quarantined alone', [aMember(0, { quarantined: 'old' }), moved(1)], {}, { verdict: 'done', total: 1 }],
    [
      'moves all at once when asked to',
      [aMember(1), aMember(0)],
      { rollout: aRollout({ atOnce: true }) },
      { verdict: 'moving', next: [0, 1] },
    ],
    ['at once does not wait either', [starting(0), aMember(1)], { rollout: aRollout({ atOnce: true }) }, { verdict: 'moving', next: [1] }],
  ];
  for (const [name, members, change, expected] of cases)
    it(name, () => {
      expect(planned(members, change)).toMatchObject({ reason: null, ...expected });
    });

  it('is told in words', () => {
    expect(planned([moved(0), starting(1), aMember(2)]).message).toBe('1 of 3 instances moved, waiting for gpu 1');
    expect(planned([aMember(0)]).message).toBe('0 of 1 instance moved, gpu 0 is next');
  });
});

describe('an instance that will not become ready', () => {
  const cases: readonly [string, RolloutMember, string | null][] = [
    ['starts, and its log moves', starting(0, { since: NOW - 900_000, progressAt: NOW - 59_999 }), null],
    ['stands still', starting(0, { progressAt: NOW - 60_000 }), 'gpu 0 did not become ready, and nothing has moved for 60 s: starting'],
    ['ended by itself three times', starting(0, { ends: 3, lastEnd: 'exit code 1' }), null],
    ['ended by itself a fourth time', starting(0, { ends: 4, lastEnd: 'exit code 1' }), 'gpu 0 ended 4 times on it, last: exit code 1'],
    ['serves and fails for a moment', starting(0, { brokenSince: NOW - 39_999 }), null],
    ['serves and fails for long', starting(0, { brokenSince: NOW - 40_000 }), 'gpu 0 serves and does not work: starting'],
    ['is quarantined', starting(0, {}, { quarantined: 'it ended' }), 'gpu 0 was quarantined: it ended'],
    ['was not seen on it yet', moved(0, { up: false, watch: null }), null],
    ['is up again', moved(0, { watch: aWatch({ ends: 9, progressAt: 0 }) }), null],
  ];
  for (const [name, member, reason] of cases)
    it(`${name}: ${reason === null ? 'it may still' : 'the release fails'}`, () => {
      const forward = planned([member, aMember(1)]);
      expect(forward.reason).toBe(reason);
      expect(forward.verdict).toBe(reason === null ? 'moving' : 'failed');
      // On the way back nothing turns around: the next one follows, and in the end it is told.
      const back = { rollout: aRollout({ direction: 'back' }) };
      expect(planned([member, aMember(1)], back).verdict).toBe('moving');
      if (reason !== null) expect(planned([member, moved(1)], back)).toMatchObject({ verdict: 'done', reason });
    });

  it('tells nothing of the release when it did not serve before', () => {
    expect(planned([starting(0, { progressAt: 0 }), aMember(1)], { rollout: aRollout({ serving: [1] }) }).verdict).toBe('moving');
  });
});

describe('any rollout forward', () => {
  const members = fc.uniqueArray(
    fc.record({
      gpu: fc.nat(7),
      wanted: fc.boolean(),
      quarantined: fc.constantFrom(null, 'it ended'),
      release: fc.constantFrom('old', 'new', null),
      up: fc.boolean(),
    }),
    { selector: (member) => member.gpu, maxLength: 8 },
  );

  it('never takes an instance that serves while another that moved does not serve yet', () => {
    fc.assert(
      fc.property(members, (parts) => {
        const all = parts.map((part) => aMember(part.gpu, { ...part, watch: part.release === 'new' ? aWatch() : null }));
        const serving = all.map(({ gpu }) => gpu);
        const { next, verdict, moved: count, total } = planned(all, { rollout: aRollout({ serving }) });
        const taken = all.filter(({ gpu }) => next.includes(gpu));
        const pending = all.some((each) => each.wanted && each.quarantined === null && each.release !== 'old' && !each.up);
        expect(taken.every((each) => each.wanted && each.quarantined === null && each.release === 'old')).toBe(true);
        expect(taken.filter(({ up }) => up).length).toBeLessThanOrEqual(pending ? 0 : 1);
        expect(count).toBeLessThanOrEqual(total);
        if (verdict === 'moving') expect(next.length > 0 || pending).toBe(true);
      }),
    );
  });
});

describe('what is known of a moved instance', () => {
  const seen = (change: Partial<Parameters<typeof watchMember>[1]> = {}) => ({ mark: 'a', broken: false, exits: [], ...change });

  it('begins with the first look, and earlier ends do not count', () => {
    const exits = [{ at: NOW - 1, reason: 'exit code 1', wanted: false }];
    expect(watchMember(null, seen({ exits }), NOW)).toEqual(aWatch({ mark: 'a' }));
  });

  it('moves when its mark does, and not otherwise', () => {
    const first = watchMember(null, seen(), NOW);
    expect(watchMember(first, seen(), NOW + 5).progressAt).toBe(NOW);
    expect(watchMember(first, seen({ mark: 'b' }), NOW + 5)).toMatchObject({ progressAt: NOW + 5, since: NOW, mark: 'b' });
  });

  it('counts the ends since then that nobody asked for', () => {
    const exits = [
      { at: NOW + 1, reason: 'exit code 1', wanted: false },
      { at: NOW + 2, reason: 'exit signal SIGINT', wanted: true },
      { at: NOW + 3, reason: 'exit code 3', wanted: false },
    ];
    expect(watchMember(aWatch(), seen({ exits }), NOW + 4)).toMatchObject({ ends: 2, lastEnd: 'exit code 3' });
  });

  it('is broken since the first of the looks that say so', () => {
    const broken = watchMember(watchMember(aWatch(), seen({ broken: true }), NOW + 1), seen({ broken: true }), NOW + 2);
    expect(broken.brokenSince).toBe(NOW + 1);
    expect(watchMember(broken, seen(), NOW + 3).brokenSince).toBeNull();
  });
});
