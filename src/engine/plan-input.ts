import type { InstanceDocument } from '../domain/instance.ts';
import type { DesiredState, ObservedState } from '../domain/state.ts';
import type { PlanInput } from '../plan/plan.ts';
import { instanceVerdicts } from '../plan/verdicts.ts';
import type { Documents } from './documents.ts';
import type { Knowledge } from './knowledge.ts';
import { driverGoneOf, verdictFacts } from './verdict-facts.ts';

/** What is known, as the planner takes it. Verdicts are made from this look, not from the documents before it. */
export function planInput(
  knowledge: Knowledge,
  state: { readonly desired: DesiredState; readonly observed: ObservedState },
  documents: Documents,
  rollout: PlanInput['rollout'],
  now: number,
): PlanInput {
  const { configuration, inputs, intents, launches, exits, freedFor, failedInstallation } = knowledge;
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
          queue: instance.queue,
          queueReadAt: knowledge.probes.get(instance.name)?.get('http')?.latest.at ?? null,
          proof: proofOf(instance),
        },
      ]),
    ),
    verdicts: new Map(state.desired.instances.map((instance) => [instance.gpu, instanceVerdicts(verdictFacts(knowledge, instance, now))])),
    freedFor,
    exits,
    driverGone: driverGoneOf(knowledge),
    failedInstallation,
    inputProblem: inputs.installationProblem,
    fileProblem: inputs.problem,
    configurationProblem: configuration.problem,
    rollout,
    now,
  };
}

/** Whether an instance has shown that it works. */
const proofOf = ({ layers: { runtime, functional } }: InstanceDocument): { readonly passed: boolean; readonly failure: string | null } => ({
  passed: runtime.status === 'pass' && functional.status === 'pass',
  failure: functional.status === 'fail' ? functional.reason : null,
});
