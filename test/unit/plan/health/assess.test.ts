import { describe, expect, it } from 'vitest';
import type { ProbeResult } from '../../../../src/domain/health/health.ts';
import { known, unknown } from '../../../../src/domain/observed.ts';
import {
  assessInstance,
  currentRecords,
  type InstanceAssessment,
  judgeHealth,
  type ProbeRecord,
  recordResult,
} from '../../../../src/plan/health/assess.ts';
import {
  aConfig,
  aLeaving,
  anIncarnation,
  anInstance,
  aProbeResult,
  aProcess,
  at,
  NOW,
  noRestarts,
} from '../../../support/machine/builders.ts';

const passed = { status: 'pass' as const, reason: null, checkedAt: at(0) };
const records = (...results: ProbeResult[]): ReadonlyMap<string, ProbeRecord> => {
  const map = new Map<string, ProbeRecord>();
  for (const result of results) map.set(result.probe, recordResult(map.get(result.probe), result));
  return map;
};
const pass = (probe: string, facts = {}) => aProbeResult(probe, 'pass', { facts });
const fail = (probe: string, reason = `${probe} failed`, facts = {}) => aProbeResult(probe, 'fail', { reason, facts });
const serving = records(pass('port'), pass('http', { running: 1, pending: 2 }), pass('nodes'), pass('canary'));

type Facts = Omit<InstanceAssessment, 'health'>;
const facts = (change: Partial<Facts> = {}): Facts => ({
  config: aConfig(),
  instance: anInstance(0),
  installation: passed,
  models: passed,
  installing: false,
  release: 'r1',
  tcpPort: 8188,
  advertiseHost: '127.0.0.1',
  process: known(aProcess(0)),
  incarnation: known(anIncarnation(0)),
  probes: serving,
  lastLogAt: null,
  restarts: noRestarts(),
  acting: false,
  ending: false,
  hold: null,
  leaving: null,
  verdicts: [],
  warnings: [],
  now: NOW,
  ...change,
});
/** Health is judged of the same facts. */
const input = (change: Partial<Facts> = {}): InstanceAssessment => {
  const given = facts(change);
  return { ...given, health: judgeHealth(given) };
};
const told = (change: Partial<Facts>) => {
  const { status, ready, layers } = assessInstance(input(change));
  return {
    status,
    ready,
    runtime: layers.runtime.status,
    functional: layers.functional.status,
    reason: layers.runtime.reason ?? layers.functional.reason,
  };
};

describe('assessInstance', () => {
  it('is healthy and ready when all layers pass', () => {
    const document = assessInstance(input());
    expect(document).toMatchObject({
      status: 'healthy',
      ready: true,
      url: 'http://127.0.0.1:8188',
      wsUrl: 'ws://127.0.0.1:8188/ws',
      pid: 1000,
      queue: { running: 1, pending: 2 },
    });
  });

  it.each([
    [1, 1, 'pass'],
    [2, 1, 'fail'],
    [2, 2, 'pass'],
    [3, 2, 'fail'],
  ])('a gate that was shut takes %i passes: after %i it says %s', (successThreshold, passes, expected) => {
    const http = [...[1, 2, 3].map(() => fail('http')), ...Array.from({ length: passes }, () => pass('http'))];
    const probes = records(pass('port'), pass('http'), ...http, pass('canary'));
    const config = aConfig({ health: { http: { successThreshold } } });
    expect(told({ config, probes }).runtime).toBe(expected);
    // One lost answer did not shut it.
    expect(
      told({ config, probes: records(pass('port'), pass('http'), pass('http'), pass('http'), fail('http'), pass('http'), pass('canary')) })
        .runtime,
    ).toBe('pass');
  });

  it('takes no new work from the moment it is ended, though it serves', () => {
    expect(told({ ending: true, acting: true })).toMatchObject({ status: 'draining', ready: false });
  });

  it('brackets an IPv6 host', () => expect(assessInstance(input({ advertiseHost: '::1' })).url).toBe('http://[::1]:8188'));

  it.each<[string, Partial<InstanceAssessment>, object]>([
    [
      'a stopped agent has not looked yet',
      { process: unknown('not looked yet'), incarnation: known(null), probes: new Map() },
      { status: 'unknown', ready: false, runtime: 'unknown' },
    ],
    [
      'a process that PM2 names and the kernel does not show',
      { incarnation: unknown('hidden'), probes: new Map() },
      { status: 'unknown', ready: false, runtime: 'unknown', reason: 'its process cannot be seen: hidden' },
    ],
    [
      'the same, being acted on',
      { incarnation: unknown('hidden'), probes: new Map(), acting: true },
      { status: 'unknown', ready: false, runtime: 'unknown' },
    ],
    [
      'no process yet',
      { process: known(null), incarnation: known(null), probes: new Map() },
      { status: 'starting', ready: false, runtime: 'fail', reason: 'no process: it was not started yet' },
    ],
    [
      'installing',
      { process: known(null), incarnation: known(null), probes: new Map(), installing: true, installation: { ...passed, status: 'fail' } },
      { status: 'installing', ready: false },
    ],
    [
      'held',
      { process: known(null), incarnation: known(null), probes: new Map(), hold: 'port 8188 is held by pid 1' },
      { status: 'unhealthy', ready: false },
    ],
    [
      'dead, PM2 will start it again',
      {
        process: known(aProcess(0, { pid: null, status: 'waiting restart' })),
        incarnation: known(null),
        probes: new Map(),
        restarts: { ...noRestarts(), total: 1, inWindow: 1, lastReason: 'exit signal SIGKILL' },
      },
      {
        status: 'unhealthy',
        ready: false,
        runtime: 'fail',
        reason: 'there is no process; it ended with exit signal SIGKILL; PM2 starts it again',
      },
    ],
    [
      'starting',
      { probes: records(fail('port', 'nothing listens', { stranger: false }), fail('http')) },
      { status: 'starting', ready: false, runtime: 'fail', functional: 'unknown', reason: 'starting for 60 s' },
    ],
    [
      'starting without progress',
      { probes: records(fail('http')), lastLogAt: NOW - 400_000, incarnation: known(anIncarnation(0, { startedAt: at(-500_000) })) },
      { status: 'unhealthy', ready: false, reason: 'starting without progress for 400 s; see `agent logs 0`' },
    ],
    [
      'starting slowly with a moving log',
      { probes: records(fail('http')), lastLogAt: NOW - 1_000, incarnation: known(anIncarnation(0, { startedAt: at(-500_000) })) },
      { status: 'starting', ready: false },
    ],
    [
      'a stranger answers',
      { probes: records(fail('port', 'port 8188 is answered by pid 9', { stranger: true }), pass('http'), pass('canary')) },
      { status: 'unhealthy', ready: false, runtime: 'fail', reason: 'port 8188 is answered by pid 9' },
    ],
    [
      'one missed answer',
      { probes: records(pass('port'), pass('http'), fail('http'), pass('canary')) },
      { status: 'healthy', ready: true },
    ],
    [
      'hung',
      { probes: records(pass('port'), pass('http'), fail('http', 'hung'), fail('http', 'hung'), fail('http', 'hung'), pass('canary')) },
      { status: 'unhealthy', ready: false, runtime: 'fail', functional: 'unknown', reason: 'hung' },
    ],
    [
      'HTTP cannot be asked',
      { probes: records(pass('port'), pass('http'), aProbeResult('http', 'unknown', { reason: 'too many open files' }), pass('canary')) },
      { status: 'unknown', ready: false, runtime: 'unknown' },
    ],
    [
      'the canary has not run',
      { probes: records(pass('port'), pass('http')) },
      { status: 'starting', ready: false, runtime: 'pass', functional: 'unknown' },
    ],
    [
      'the canary waits for jobs',
      { probes: records(pass('port'), aProbeResult('http', 'pass', { facts: { running: 1, pending: 2 } })) },
      { status: 'starting', functional: 'unknown', reason: 'the canary waits for an empty queue (3 jobs there now)' },
    ],
    [
      'the canary failed',
      { probes: records(pass('port'), pass('http'), fail('canary', 'CUDA error')) },
      { status: 'unhealthy', ready: false, functional: 'fail', reason: 'CUDA error' },
    ],
    [
      'a node pack got lost',
      { probes: records(pass('port'), pass('http'), fail('nodes', 'pack X'), pass('canary')) },
      { status: 'degraded', ready: true },
    ],
    [
      'a model is missing',
      { models: { ...passed, status: 'fail', reason: 'x.safetensors is missing' } },
      { status: 'degraded', ready: true },
    ],
    ['cordoned', { instance: anInstance(0, { cordoned: true }) }, { status: 'healthy', ready: false }],
    ['draining', { instance: anInstance(0, { draining: true }), leaving: aLeaving('drain') }, { status: 'draining', ready: false }],
    ['about to be restarted', { leaving: aLeaving('restart') }, { status: 'draining', ready: false }],
    [
      'asked to stop and still there',
      { instance: anInstance(0, { desired: 'stopped' }), process: known(aProcess(0, { status: 'stopping' })) },
      { status: 'draining', ready: false, runtime: 'fail', reason: 'is being stopped' },
    ],
    [
      'stopped',
      {
        instance: anInstance(0, { desired: 'stopped' }),
        process: known(aProcess(0, { status: 'stopped', pid: null })),
        incarnation: known(null),
        probes: new Map(),
      },
      { status: 'stopped', ready: false },
    ],
    [
      'quarantined',
      { instance: anInstance(0, { quarantined: 'too often' }), process: known(null), incarnation: known(null), probes: new Map() },
      { status: 'quarantined', ready: false },
    ],
    ['disabled', { config: aConfig({ comfyui: { enabled: false } }) }, { status: 'disabled' }],
    [
      'without a canary by configuration',
      { config: aConfig({ health: { canary: { enabled: false } } }), probes: records(pass('port'), pass('http')) },
      { status: 'healthy', ready: true, functional: 'pass' },
    ],
  ])('%s', (_, change, expected) => expect(told(change)).toMatchObject(expected));
});

describe('records', () => {
  it('count failures of one incarnation in a row', () => {
    const list = [fail('http'), fail('http'), aProbeResult('http', 'unknown'), fail('http')];
    expect(records(...list).get('http')).toMatchObject({ consecutiveFailures: 3, everPassed: false });
    expect(records(...list, pass('http')).get('http')).toMatchObject({ consecutiveFailures: 0, everPassed: true });
  });

  it('begin anew with a new incarnation', () => {
    const map = records(pass('http'), fail('http'), aProbeResult('http', 'fail', { incarnation: '1001@99' }));
    expect(map.get('http')).toMatchObject({ consecutiveFailures: 1, everPassed: false });
  });

  it('of an earlier incarnation prove nothing', () => {
    expect(currentRecords(serving, anIncarnation(0, { startTicks: '78' })).size).toBe(0);
    expect(currentRecords(serving, null).size).toBe(0);
    expect(currentRecords(serving, anIncarnation(0)).size).toBe(4);
  });
});
