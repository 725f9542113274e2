import { describe, expect, it } from 'vitest';
import type { PendingUpgrade } from '../../../../src/domain/host/upgrade.ts';
import { compareInstances, guardedBy, judgeCandidate, judgePending } from '../../../../src/plan/host/upgrade.ts';
import { aVersionDocument } from '../../../support/machine/machine-documents.ts';

const present = { ...aVersionDocument(), singleFile: true };

describe('a program that is to take the place of this one', () => {
  it('is taken without a word when only the agent changes', () => {
    expect(judgeCandidate(present, { ...present, agent: '9.9.9' }, { minimum: 1 })).toEqual([]);
    expect(judgeCandidate(present, { ...present, agent: '9.9.9' }, null)).toEqual([]);
  });

  it.each([
    ['a bundle', { singleFile: false }, 'BINARY_INVALID', 'needs Node.js'],
    ['another processor', { arch: 'arm64' }, 'BINARY_INVALID', 'arm64'],
    ['too old for the state', { stateVersion: 2 }, 'STATE_TOO_NEW', 'needs 3 at least'],
  ])('is refused: %s', (_, change, code, words) => {
    expect(() => judgeCandidate(present, { ...present, ...change }, { minimum: 3 })).toThrow(
      expect.objectContaining({ code, message: expect.stringContaining(words) as string }) as Error,
    );
  });

  it('that brings another PM2 or Node is announced', () => {
    const notes = judgeCandidate(present, { ...present, pm2: '8.0.0', node: '26.0.0' }, null);
    expect(notes).toHaveLength(1);
    expect(notes[0]).toContain(`PM2 ${present.pm2} -> 8.0.0 and Node ${present.node} -> 26.0.0`);
    expect(notes[0]).toContain('--pm2');
  });
});

describe('before an agent starts that has not proved itself', () => {
  const began = Date.parse('2026-01-01T00:00:00Z');
  const pending = (starts: number): PendingUpgrade => {
    const facts = { agent: '1', commit: null, node: '24', pm2: '7', sha256: 'x' };
    return {
      schema: 1,
      startedAt: new Date(began).toISOString(),
      target: '/usr/local/bin/agent',
      from: facts,
      to: { ...facts, sha256: 'new' },
      by: { pid: 1, startTicks: '1' },
      starts,
    };
  };

  it.each([
    ['somebody watches', 9, 999_000, true, 'new', 'start'],
    ['its first start', 0, 1_000, false, 'new', 'start'],
    ['its first start, after a night without power', 0, 40_000_000, false, 'new', 'start'],
    ['its third', 2, 20_000, false, 'new', 'start'],
    ['one too many', 3, 20_000, false, 'new', 'go-back'],
    ['too late', 1, 181_000, false, 'new', 'go-back'],
    ['one too many of what was never put in place', 3, 20_000, false, 'x', 'forget'],
    ['what is about to be put in place', 0, 1_000, true, 'x', 'start'],
    ['no program at all', 3, 20_000, false, null, 'go-back'],
  ] as const)('%s', (_, starts, ageMs, isWatched, inPlace, expected) => {
    expect(judgePending(pending(starts), { isWatched, isProved: false, inPlace, now: began + ageMs })).toBe(expected);
  });
});

it("the agent's word closes an upgrade, unless its command still minds it", () => {
  const facts = { agent: '1', commit: null, node: '24', pm2: '7', sha256: 'x' };
  const by = { pid: 1, startTicks: '1' };
  const open = { schema: 1, startedAt: new Date(0).toISOString(), target: '/a', from: facts, to: facts, by, starts: 9 } as const;
  const about = { isProved: true, inPlace: null, now: 999_000_000 };
  expect(judgePending(open, { ...about, isWatched: false })).toBe('forget');
  expect(judgePending(open, { ...about, isWatched: true })).toBe('start');
});

it('a guard minds the program beside itself, and no other', () => {
  expect(guardedBy('/usr/local/bin/agent.previous')).toBe('/usr/local/bin/agent');
  for (const file of ['/usr/local/bin/agent', '/root/agent.previous.new', '/usr/bin/passwd.previous', 'agent.previous'])
    expect(() => guardedBy(file)).toThrow('guards nothing');
});

it('tells which instances went on', () => {
  const before = [
    { name: 'a', pid: 1 },
    { name: 'b', pid: 2 },
    { name: 'c', pid: null },
    { name: 'd', pid: 4 },
  ];
  const after = [
    { name: 'a', pid: 1 },
    { name: 'b', pid: 9 },
    { name: 'c', pid: 3 },
  ];
  expect(compareInstances(before, after)).toEqual({ kept: ['a'], restarted: ['b', 'd'] });
});
