import type { Documents } from '../domain/health/documents.ts';
import { instanceName } from '../domain/identity.ts';
import type { InstanceDocument, QueueReading } from '../domain/instances/instance.ts';
import type { DesiredState, ObservedState, Unsaved } from '../domain/state/state.ts';
import { instanceVerdicts } from '../plan/faults/verdicts.ts';
import type { ProbeRecord } from '../plan/health/assess.ts';
import type { PlanInput } from '../plan/plan.ts';
import { driverGoneOf, verdictFacts } from './faults/facts.ts';
import { type Knowledge, NO_INPUTS } from './knowledge.ts';

/** What is known, as the planner takes it. Verdicts are made from this look, not from the documents before it. */
export function planInput(
  knowledge: Knowledge,
  state: { readonly desired: DesiredState; readonly observed: ObservedState; readonly unsaved: Unsaved | null },
  documents: Documents,
  now: number,
): PlanInput {
  const { configuration, inputs, intents, launches, failedInstallation, instances, unwanted } = knowledge;
  const facts = new Map(state.desired.instances.map((instance) => [instance.gpu, verdictFacts(knowledge, instance, now)]));
  return {
    config: configuration.config,
    ...state,
    intents,
    launches,
    health: new Map(
      documents.instances.instances.map((instance) => [
        instance.gpu,
        {
          starting: instance.status === 'starting',
          queue: queueReading(facts.get(instance.gpu)?.probes.get('http')),
          leavingSince: instances.of(instance.gpu).leavingSince,
          hasServed: hasServed(facts.get(instance.gpu)?.probes.get('http')),
          proof: proofOf(instance),
        },
      ]),
    ),
    verdicts: new Map([...facts].map(([gpu, of]) => [gpu, instanceVerdicts(of)])),
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
const proofOf = ({ layers: { runtime, functional } }: InstanceDocument): { readonly passed: boolean; readonly failure: string | null } => ({
  passed: runtime.status === 'pass' && functional.status === 'pass',
  failure: functional.status === 'fail' ? functional.reason : null,
});
