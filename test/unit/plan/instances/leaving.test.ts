import { describe, expect, it } from 'vitest';
import { known, unknown } from '../../../../src/domain/observed.ts';
import { idleness, type LeavingFacts, leaving, leavings, mayGo, ON_THE_WAY_MS } from '../../../../src/plan/instances/leaving.ts';
import { anIncarnation, anInstance, aProcess, at, aVerdict, NOW } from '../../../support/machine/builders.ts';

/** An instance that stays: it runs what it should, and nobody wants it away. */
const facts = (change: Partial<LeavingFacts> = {}): LeavingFacts => ({
  instance: anInstance(0),
  process: known(aProcess(0, { entryDigest: 'now' })),
  incarnation: known(anIncarnation(0)),
  launchDigest: 'now',
  verdicts: [],
  canStart: true,
  move: null,
  unhosted: false,
  since: NOW - 10_000,
  queue: { askedAt: NOW - 1_000, jobs: 0 },
  hasServed: true,
  drainTimeoutMs: 60_000,
  now: NOW,
  ...change,
});
const recycle = (blocksReady: boolean, since = at(-1_000)) => [aVerdict({ remedy: 'restart-when-idle', blocksReady, since, dueAt: null })];
const earlier = known(aProcess(0, { entryDigest: 'before' }));

describe('whether and why an instance leaves', () => {
  it.each<[string, Partial<LeavingFacts>, object | null]>([
    ['nobody wants it away', {}, null],
    ['a stop was asked for', { instance: anInstance(0, { desired: 'stopped' }) }, { why: 'stop', until: NOW }],
    ['a drain was asked for', { instance: anInstance(0, { draining: true }) }, { why: 'drain', until: null }],
    ['a drain, and its process cannot be seen', { instance: anInstance(0, { draining: true }), process: unknown('PM2') }, { why: 'drain' }],
    ['a restart was asked for', { instance: anInstance(0, { restartRequestedAt: NOW - 500 }) }, { why: 'restart', until: NOW - 500 }],
    [
      'a restart after its jobs was asked for',
      { instance: anInstance(0, { restartRequestedAt: NOW - 500, drainBeforeRestart: true }) },
      { why: 'restart', until: NOW - 500 + 60_000 },
    ],
    ['the restart has happened', { instance: anInstance(0, { restartRequestedAt: NOW - 90_000 }) }, null],
    ['it has no release to come back with', { instance: anInstance(0, { restartRequestedAt: NOW - 500 }), launchDigest: null }, null],
    ['it is to be recycled', { verdicts: recycle(false) }, { why: 'recycle', until: NOW - 1_000 + 60_000 }],
    ['it is to be recycled later', { verdicts: recycle(false, at(1)) }, null],
    ['its turn in a rollout has come', { process: earlier, move: 'turn' }, { why: 'rollout', until: NOW - 10_000 + 60_000 }],
    ['its turn is not told yet', { process: earlier, move: 'turn', since: null }, { why: 'rollout', until: null }],
    ['a rollout has not come to it', { process: earlier, move: 'wait' }, null],
    ['its settings changed', { process: earlier }, { why: 'settings', until: null }],
    ['its settings changed to what cannot be started', { process: earlier, canStart: false }, null],
    ['its settings changed, and nobody can ask it', { process: earlier, incarnation: unknown('hidden') }, null],
    ['nobody hosts it', { process: known(null), unhosted: true }, { why: 'unhosted', until: null }],
    ['it is quarantined', { instance: anInstance(0, { quarantined: 'ended 11 times', draining: true }) }, null],
    ['its process is gone', { process: known(aProcess(0, { status: 'stopped', pid: null, entryDigest: 'before' })) }, null],
  ])('%s', (_, change, expected) => {
    const answer = leaving(facts(change));
    if (expected === null) expect(answer).toBeNull();
    else expect(answer).toMatchObject({ ...expected, takesWork: false });
  });
});

describe('whether it is idle', () => {
  const told = NOW - 10_000;
  const asked = (afterMs: number, jobs: number | null) => ({ askedAt: told + afterMs, jobs });
  it.each([
    ['its queue was never read', null, told, 'unknown'],
    ['its queue could not be read', asked(5_000, null), told, 'unknown'],
    ['jobs are there', asked(5_000, 2), told, 'no'],
    ['jobs were there before it was told', asked(-5_000, 2), told, 'no'],
    ['there were none before it was told', asked(-1, 0), told, 'unknown'],
    ['there were none while prompts may have been on the way', asked(ON_THE_WAY_MS - 1, 0), told, 'unknown'],
    ['there are none, and none can be on the way', asked(ON_THE_WAY_MS, 0), told, 'yes'],
    ['nobody was told yet', asked(5_000, 0), null, 'unknown'],
  ] as const)('%s', (_, queue, since, expected) => expect(idleness(queue, since)).toBe(expected));

  it('a process that never listened has no jobs', () =>
    expect(leaving(facts({ instance: anInstance(0, { draining: true }), queue: null, since: null, hasServed: false }))).toMatchObject({
      idle: 'yes',
      jobs: 0,
    }));

  it.each([
    ['idle', { idle: 'yes', until: null }, true],
    ['busy', { idle: 'no', until: null }, false],
    ['busy for too long', { idle: 'no', until: NOW }, true],
    ['not known', { idle: 'unknown', until: NOW + 1 }, false],
  ] as const)('and goes or stays: %s', (_, { idle, until }, expected) =>
    expect(mayGo({ why: 'restart', since: NOW, takesWork: false, jobs: null, idle, until }, NOW)).toBe(expected),
  );
});

describe('of several', () => {
  const changed = (gpu: number, change: Partial<LeavingFacts> = {}) =>
    facts({ instance: anInstance(gpu), process: earlier, since: null, ...change });
  const gpusOf = (all: readonly LeavingFacts[], ...away: readonly number[]) => [...leavings(all, new Set(away)).keys()];

  it.each<[string, () => number[], number[]]>([
    ['changed settings take one at a time', () => gpusOf([changed(0), changed(1)]), [0]],
    ['whoever has begun goes first', () => gpusOf([changed(0), changed(1, { since: NOW - 1_000 })]), [1]],
    ['none while another is away', () => gpusOf([changed(0), changed(1)], 2), []],
    ['being on its own way up is no reason to wait', () => gpusOf([changed(0), changed(1)], 0), [0]],
    ['a recycle waits like a setting', () => gpusOf([facts({ verdicts: recycle(false) }), changed(1)]), [0]],
    [
      'a recycle of one that serves nothing does not wait',
      () => gpusOf([changed(0), facts({ instance: anInstance(1), verdicts: recycle(true) })], 2),
      [1],
    ],
    ['what an operator asks for does not wait', () => gpusOf([changed(0), facts({ instance: anInstance(1, { draining: true }) })], 2), [1]],
  ])('%s', (_, gpus, expected) => expect(gpus()).toEqual(expected));
});

it('a prompt that was sent a third of a second after the wish is still waited for', () => {
  expect(idleness({ askedAt: NOW + 300, jobs: 0 }, NOW)).toBe('unknown');
});
