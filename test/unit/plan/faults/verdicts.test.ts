import { describe, expect, it } from 'vitest';
import { Verdict } from '../../../../src/domain/faults/verdict.ts';
import type { ProbeResult } from '../../../../src/domain/health/health.ts';
import { known } from '../../../../src/domain/observed.ts';
import type { VerdictFacts } from '../../../../src/plan/faults/facts.ts';
import { instanceVerdicts } from '../../../../src/plan/faults/verdicts.ts';
import { type ProbeRecord, recordResult } from '../../../../src/plan/health/assess.ts';
import { aConfig, anIncarnation, anInstance, aProbeResult, aProcess, at, NO_OWNER_FACTS, NOW } from '../../../support/machine/builders.ts';

type Facts = Readonly<Record<string, unknown>>;
const result = (probe: string, outcome: ProbeResult['outcome'], ago: number, facts: Facts = {}): ProbeResult =>
  aProbeResult(probe, outcome, { at: NOW - ago, facts });
const records = (...results: ProbeResult[]): ReadonlyMap<string, ProbeRecord> => {
  const map = new Map<string, ProbeRecord>();
  for (const each of results) map.set(each.probe, recordResult(map.get(each.probe), each));
  return map;
};
const facts = (probes: ReadonlyMap<string, ProbeRecord>, change: Partial<VerdictFacts> = {}): VerdictFacts => ({
  config: aConfig(),
  instance: anInstance(0),
  process: known(aProcess(0)),
  incarnation: known(anIncarnation(0)),
  probes,
  exits: [],
  queue: null,
  startMovedAt: null,
  card: null,
  resources: null,
  owner: NO_OWNER_FACTS,
  now: NOW,
  ...change,
});
const judge = (...results: ProbeResult[]) => instanceVerdicts(facts(records(...results)));
const told = (...results: ProbeResult[]) =>
  judge(...results).map(({ fault, remedy, blocksReady, dueAt, since }) => ({ fault, remedy, blocksReady, dueAt, since }));

const up = result('http', 'pass', 100_000);
/** Failed four times, first at `ago`. */
const silent = (ago: number, kind = 'timeout', more: Facts = {}) => [
  up,
  ...[0, 2_000, 4_000, 6_000].map((later) => result('http', 'fail', ago - later, { kind, ...more })),
];
const activity = (ago: number, more: Facts) =>
  result('activity', 'pass', ago, { state: 'S', cpuMs: 5_000, quietSince: null, share: 0.9, ...more });

describe('verdicts', () => {
  it('there are none about an instance in order', () => {
    expect(judge(up, result('http', 'pass', 0, { running: 1, pending: 4, head: 'a', headSince: NOW - 1_000, waitingSince: null }))).toEqual(
      [],
    );
  });

  it('hold to their schema', () => {
    for (const verdict of judge(...silent(10_000), activity(0, { quietSince: NOW - 9_000 })))
      expect(Verdict.parse(verdict)).toEqual(verdict);
  });

  describe('a process that answers no HTTP', () => {
    const hung = (fault: string, dueAt: string | null) => [
      { fault, remedy: dueAt === null ? 'none' : 'restart', blocksReady: true, dueAt, since: at(-10_000) },
    ];

    it('is none before the threshold', () => {
      expect(told(up, result('http', 'fail', 4_000, { kind: 'timeout' }), result('http', 'fail', 2_000, { kind: 'timeout' }))).toEqual([]);
    });

    it.each<[string, ProbeResult[], string, string | null]>([
      ['not looked at yet', [], 'hang', at(170_000)],
      ['looked at before the fault only', [activity(30_000, { state: 'T' })], 'hang', at(170_000)],
      ['busy', [activity(0, {})], 'busy-without-answer', at(170_000)],
      ['stands still', [activity(0, { quietSince: NOW - 9_000 })], 'hang', at(21_000)],
      ['stands still since a moment ago', [activity(0, { quietSince: NOW })], 'hang', at(30_000)],
      ['stopped', [activity(0, { state: 'T' })], 'stopped-process', at(20_000)],
      ['held by a debugger', [activity(0, { state: 't' })], 'stopped-process', null],
    ])('%s', (_, looks, fault, dueAt) => expect(told(...silent(10_000), ...looks)).toEqual(hung(fault, dueAt)));

    it.each([
      ['refuses connections', silent(10_000, 'refused'), 1],
      ['answers 500', silent(10_000, 'status', { status: 500 }), 1],
      ['answers 404: another program', silent(10_000, 'status', { status: 404 }), 0],
    ])('%s', (_, results, count) => expect(told(...results)).toHaveLength(count));

    it('is over with the first answer', () => {
      expect(told(...silent(10_000), result('http', 'pass', 0, { running: 0, pending: 0 }))).toEqual([]);
    });
  });

  describe('a start', () => {
    const starting = (startMovedAt: number | null, now: number) => {
      const [verdict] = instanceVerdicts(
        facts(records(), { startMovedAt, now, incarnation: known(anIncarnation(0, { startedAt: at(0) })) }),
      );
      return verdict?.dueAt ?? null;
    };
    it('goes on as long as its log moves', () => expect(starting(NOW + 900_000, NOW + 1_000_000)).toBeNull());
    it('is stuck when it does not, and ended later', () => expect(starting(NOW + 900_000, NOW + 1_200_001)).toBe(at(1_380_000)));
  });

  describe('the worker thread', () => {
    const waiting = (ago: number, running = 0) => [
      up,
      result('http', 'pass', 0, { running, pending: 2, waitingSince: NOW - ago, head: null, headSince: null }),
    ];
    it.each<[string, ProbeResult[], string[]]>([
      ['between two jobs', waiting(8_999), []],
      ['nobody takes a job, and something uses CPU', [...waiting(9_000), activity(0, {})], [at(51_000)]],
      ['nobody takes a job, and nothing happens', [...waiting(9_000), activity(0, { quietSince: NOW - 8_000 })], [at(0)]],
    ])('%s', (_, results, due) => expect(judge(...results).map((verdict) => verdict.dueAt)).toEqual(due));

    it('dead by the log: at once, with its last words', () => {
      const lines = ['Exception in thread Thread-1 (prompt_worker):', 'Traceback'];
      const [verdict] = judge(up, result('log', 'pass', 0, { workerDead: { at: NOW, lines } }));
      expect(verdict).toMatchObject({ fault: 'worker-dead', remedy: 'restart', dueAt: null, blocksReady: true, evidence: lines });
    });
  });

  describe('a job that runs on and on', () => {
    const long = (change: { head?: number; quiet?: number | null; log?: number }) => [
      up,
      result('http', 'pass', 0, { running: 1, pending: 0, head: 'job', headSince: NOW - (change.head ?? 700_000), waitingSince: null }),
      activity(0, { quietSince: change.quiet === null ? null : NOW - (change.quiet ?? 650_000) }),
      result('log', 'pass', 0, { movedAt: NOW - (change.log ?? 800_000), workerDead: null }),
    ];
    it.each([
      ['and nothing moves', long({}), ['job-without-progress']],
      ['is busy', long({ quiet: null }), []],
      ['was busy a while ago', long({ quiet: 60_000 }), []],
      ['draws its bar', long({ log: 5_000 }), []],
      ['is young', long({ head: 599_000 }), []],
    ])('%s', (_, results, faults) => expect(told(...results).map(({ fault }) => fault)).toEqual(faults));
  });

  describe('CUDA', () => {
    const sign = { at: NOW - 1_000, line: 'RuntimeError: CUDA error: device-side assert triggered' };
    it('a broken context in the log: a restart at once', () => {
      expect(told(up, result('log', 'pass', 0, { cudaError: sign }))).toEqual([
        { fault: 'cuda-error', remedy: 'restart', blocksReady: true, dueAt: null, since: at(-1_000) },
      ]);
    });
    it('a broken context seen by the canary', () => {
      const failed = aProbeResult('canary', 'fail', { reason: `the canary failed in ImageBlur: ${sign.line}` });
      expect(told(up, failed)).toMatchObject([{ fault: 'cuda-error', remedy: 'restart' }]);
    });
    it('out of memory: memory is freed, and it serves on; told for a while', () => {
      const oom = { ...sign, line: 'Got an OOM, unloading all loaded models.' };
      expect(told(up, result('log', 'pass', 0, { outOfMemory: oom }))).toEqual([
        { fault: 'job-out-of-memory', remedy: 'free-memory', blocksReady: false, dueAt: null, since: at(-1_000) },
      ]);
      expect(told(up, result('log', 'pass', 0, { outOfMemory: { ...oom, at: NOW - 31_000 } }))).toEqual([]);
    });
  });

  describe('the WebSocket', () => {
    const gone = (times: number) => Array.from({ length: times }, (_, index) => result('websocket', 'fail', (times - index) * 1_000));
    it.each([
      ['fails once or twice: it is tried again', [up, ...gone(2)], []],
      [
        'fails again and again',
        [up, ...gone(3)],
        [{ fault: 'websocket-gone', remedy: 'restart-when-idle', blocksReady: true, dueAt: at(27_000) }],
      ],
      ['is back', [up, ...gone(5), result('websocket', 'pass', 0)], []],
      ['of a process that hangs', [...silent(10_000), ...gone(3)], [{ fault: 'hang' }]],
    ])('%s', (_, results, expected) => expect(told(...results)).toMatchObject(expected));
  });
});
