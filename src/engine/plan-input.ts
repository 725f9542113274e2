import { instanceName } from '../domain/identity.ts';
import type { QueueReading } from '../domain/instances/instance.ts';
import type { DesiredState, ObservedState, Unsaved } from '../domain/state/state.ts';
import { type InstanceHealth, isComingUp, type ProbeRecord } from '../plan/health/assess.ts';
import type { PlanInput } from '../plan/plan.ts';
import { driverGoneOf } from './faults/facts.ts';
import type { JudgedInstance } from './health/judged.ts';
import { type Knowledge, NO_INPUTS } from './knowledge.ts';

/** What is known, as the planner takes it: all of this look. */
export function planInput(
  knowledge: Knowledge,
  state: { readonly desired: DesiredState; readonly observed: ObservedState; readonly unsaved: Unsaved | null },
  judged: ReadonlyMap<number, JudgedInstance>,
  now: number,
): PlanInput {
  const { configuration, inputs, intents, launches, failedInstallation, instances, unwanted } = knowledge;
  return {
    config: configuration.config,
    ...state,
    intents,
    launches,
    health: new Map(
      [...judged].map(([gpu, { health, facts }]) => [
        gpu,
        {
          // One that moves to another release is on its way out.
          starting: isComingUp(health) && knowledge.leaving.get(gpu)?.why !== 'rollout',
          queue: queueReading(facts.probes.get('http')),
          leavingSince: instances.of(gpu).leavingSince,
          hasServed: hasServed(facts.probes.get('http')),
          proof: proofOf(health),
        },
      ]),
    ),
    verdicts: new Map([...judged].map(([gpu, { verdicts }]) => [gpu, verdicts])),
    unwanted,
    freedFor: new Map([...instances.known('freed')].map(([gpu, { verdictSince }]) => [gpu, verdictSince])),
    exits: new Map([...instances].map(([gpu, { exits }]) => [instanceName(gpu), exits])),
    driverGone: driverGoneOf(knowledge),
    failedInstallation,
    packList: inputs === NO_INPUTS ? null : { file: configuration.layout.configNodes, owner: inputs.packsOwner, packs: inputs.packs },
    inputProblem: inputs.installationProblem,
    fileProblem: inputs.problem,
    configurationProblem: configuration.problem,
    rollout: knowledge.rollout,
    now,
  };
}

/** By the process that runs now; a probe that got no answer has asked all the same. */
function queueReading(http: ProbeRecord | undefined): QueueReading | null {
  if (http === undefined) return null;
  const { at, durationMs, facts } = http.latest;
  const { running, pending } = facts ?? {};
  return { askedAt: at - durationMs, jobs: typeof running === 'number' && typeof pending === 'number' ? running + pending : null };
}

/** One that never listened has not. One that does not answer may have, before this agent looked at it. */
const hasServed = (http: ProbeRecord | undefined): boolean =>
  http === undefined || http.everPassed || http.latest.facts?.['kind'] !== 'refused';

/** Whether an instance has shown that it works. */
const proofOf = ({ runtime, functional }: InstanceHealth): { readonly passed: boolean; readonly failure: string | null } => ({
  passed: runtime.status === 'pass' && functional.status === 'pass',
  failure: functional.status === 'fail' ? functional.reason : null,
});
