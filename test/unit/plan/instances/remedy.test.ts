import { describe, expect, it } from 'vitest';
import type { Verdict } from '../../../../src/domain/faults/verdict.ts';
import { assessInstance, type InstanceAssessment, judgeHealth, recordResult } from '../../../../src/plan/health/assess.ts';
import type { Leaving } from '../../../../src/plan/instances/leaving.ts';
import { plan } from '../../../../src/plan/plan.ts';
import {
  actionsOf,
  aHealthyMachine,
  aLeaving,
  aProbeResult,
  at,
  aVerdict,
  holdsOf,
  NOW,
  noRestarts,
  withJobs,
} from '../../../support/machine/builders.ts';

const machine = (verdicts: readonly Verdict[], jobs: number | null = 0) => {
  const input = aHealthyMachine();
  return {
    ...input,
    verdicts: new Map([[0, verdicts]]),
    health: new Map([
      [0, withJobs(jobs)],
      [1, withJobs(jobs)],
    ]),
  };
};
const doneFor = (change: Partial<Verdict>, jobs?: number | null) => {
  const planned = plan(machine([aVerdict(change)], jobs));
  return [...actionsOf(planned), ...holdsOf(planned)];
};

describe('what is done about a verdict', () => {
  it.each<[string, Partial<Verdict>, number | null, string[]]>([
    ['nothing', { remedy: 'none' }, null, []],
    ['a restart at once', { remedy: 'restart' }, 1, ['restart-instance 0']],
    ['a restart that is not due', { remedy: 'restart', dueAt: at(1) }, null, []],
    ['a restart that is due', { remedy: 'restart', dueAt: at(0) }, null, ['restart-instance 0']],
    ['quarantine', { remedy: 'quarantine' }, null, ['quarantine-instance 0']],
    ['memory freed, whatever runs', { remedy: 'free-memory' }, 4, ['free-memory 0']],
    ['a recycle of an idle instance', { remedy: 'restart-when-idle' }, 0, ['restart-instance 0']],
    ['a recycle that waits for a job', { remedy: 'restart-when-idle' }, 1, ['instance 0: DRAINING']],
    ['a recycle that cannot see the queue', { remedy: 'restart-when-idle' }, null, ['instance 0: DRAINING']],
    ['a recycle that waited for too long', { remedy: 'restart-when-idle', since: at(-600_000) }, 1, ['restart-instance 0']],
  ])('%s', (_, change, jobs, expected) => expect(doneFor(change, jobs)).toEqual(expected));

  it('names the fault with the restart, so that it counts', () => {
    const { actions } = plan(machine([aVerdict({ remedy: 'restart', fault: 'cuda-error', reason: 'CUDA is broken' })]));
    expect(actions).toEqual([{ kind: 'restart-instance', gpu: 0, name: 'comfyui-gpu0', reason: 'CUDA is broken', fault: 'cuda-error' }]);
  });

  it('frees memory once for each time the fault appears', () => {
    const verdict = aVerdict({ remedy: 'free-memory', blocksReady: false });
    expect(actionsOf(plan({ ...machine([verdict]), freedFor: new Map([[0, verdict.since]]) }))).toEqual([]);
    expect(actionsOf(plan({ ...machine([verdict]), freedFor: new Map([[0, at(-99_000)]]) }))).toEqual(['free-memory 0']);
  });

  it('recycles one instance after the other while they serve', () => {
    const recycle = [aVerdict({ remedy: 'restart-when-idle', blocksReady: false })];
    const both = { ...machine(recycle), verdicts: new Map([0, 1].map((gpu) => [gpu, recycle])) };
    const planned = plan(both);
    expect([...actionsOf(planned), ...holdsOf(planned)]).toEqual(['restart-instance 0', 'instance 1: ROLLING']);
  });

  it('takes the worst first, and quarantine before anything else', () => {
    const both = [aVerdict({ remedy: 'restart' }), aVerdict({ fault: 'crash-loop', remedy: 'quarantine' })];
    expect(actionsOf(plan(machine(both)))).toEqual(['quarantine-instance 0']);
  });
});

describe('a verdict in the instance document', () => {
  const document = (verdicts: readonly Verdict[], leaving: Leaving | null) => {
    const { config, desired, observed } = aHealthyMachine();
    const [instance] = desired.instances;
    if (instance === undefined || !observed.processes.known) throw new Error('no instance');
    const probes = new Map(['http', 'port', 'canary'].map((probe) => [probe, recordResult(undefined, aProbeResult(probe, 'pass'))]));
    const passed = { status: 'pass' as const, reason: null, checkedAt: at(0) };
    const facts: Omit<InstanceAssessment, 'health'> = {
      config,
      instance,
      installation: passed,
      models: passed,
      installing: false,
      release: 'r1',
      tcpPort: 8188,
      advertiseHost: '127.0.0.1',
      process: { known: true, value: observed.processes.value[0] ?? null },
      incarnation: observed.incarnations.get(instance.name) ?? { known: false, reason: '' },
      probes,
      lastLogAt: null,
      restarts: noRestarts(),
      acting: false,
      ending: false,
      hold: null,
      leaving,
      verdicts,
      warnings: [],
      now: NOW,
    };
    return assessInstance({ ...facts, health: judgeHealth(facts) });
  };

  it.each<[string, Partial<Verdict>, object]>([
    [
      'blocks a runtime that seems to be in order',
      { fault: 'websocket-gone', reason: 'no WebSocket' },
      { ready: false, status: 'unhealthy', layers: { runtime: { status: 'fail', reason: 'no WebSocket' } } },
    ],
    [
      'blocks what the instance can do',
      { fault: 'worker-dead', reason: 'no worker' },
      { ready: false, status: 'unhealthy', layers: { runtime: { status: 'pass' }, functional: { status: 'fail', reason: 'no worker' } } },
    ],
    ['only degrades', { blocksReady: false }, { ready: true, status: 'degraded', layers: { runtime: { status: 'pass' } } }],
    [
      'empties the instance for a recycle',
      { blocksReady: false, remedy: 'restart-when-idle' },
      { ready: false, status: 'draining', layers: { runtime: { status: 'pass' }, functional: { status: 'pass' } } },
    ],
  ])('%s', (_, change, expected) => {
    const verdict = aVerdict(change);
    const leaving = verdict.remedy === 'restart-when-idle' ? aLeaving('recycle') : null;
    expect(document([verdict], leaving)).toMatchObject({ ...expected, verdicts: [verdict] });
  });
});

describe('a drain', () => {
  const drained = (verdicts: readonly Verdict[], jobs: number | null, hasServed: boolean) => {
    const input = machine(verdicts, jobs);
    const [first, ...others] = input.desired.instances;
    if (first === undefined) throw new Error('there is no instance');
    const desired = { ...input.desired, instances: [{ ...first, draining: true }, ...others] };
    const planned = plan({ ...input, desired, health: new Map([[0, withJobs(jobs, { hasServed })]]) });
    return [...actionsOf(planned), ...holdsOf(planned)];
  };
  it.each<[string, readonly Verdict[], number | null, boolean, string[]]>([
    ['waits for a job', [], 1, true, ['instance 0: DRAINING']],
    ['waits for a queue that cannot be read', [], null, true, ['instance 0: DRAINING']],
    ['does not wait for one that never listened', [], null, false, ['stop-instance 0']],
    ['does not wait for one that would be ended anyway', [aVerdict({ remedy: 'restart' })], null, true, ['stop-instance 0']],
    ['waits while it would be given time', [aVerdict({ remedy: 'restart', dueAt: at(1) })], null, true, ['instance 0: DRAINING']],
  ])('%s', (_, verdicts, jobs, hasServed, expected) => expect(drained(verdicts, jobs, hasServed)).toEqual(expected));
});
