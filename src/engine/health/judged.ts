import type { Verdict } from '../../domain/faults/verdict.ts';
import { instanceTarget, type Target } from '../../domain/identity.ts';
import type { DesiredInstance } from '../../domain/instances/instance.ts';
import type { VerdictFacts } from '../../plan/faults/facts.ts';
import { instanceVerdicts } from '../../plan/faults/verdicts.ts';
import { type InstanceHealth, judgeHealth } from '../../plan/health/assess.ts';
import { judgeRestarts, type RestartVerdict, restartPolicy } from '../../plan/instances/restart-policy.ts';
import { verdictFacts } from '../faults/facts.ts';
import type { Knowledge } from '../knowledge.ts';

/** What one look makes of an instance. Planner, rollout and documents take it from here, side by side: none reads what another rendered. */
export interface JudgedInstance {
  readonly facts: VerdictFacts;
  /** The worst first. */
  readonly verdicts: readonly Verdict[];
  readonly restarts: RestartVerdict;
  readonly health: InstanceHealth;
  /** An action on it is under way. */
  readonly acting: boolean;
}

/** @param acting targets with an action under way, or with one whose effect was not seen yet */
export function judgeInstance(knowledge: Knowledge, instance: DesiredInstance, acting: ReadonlySet<Target>, now: number): JudgedInstance {
  const facts = verdictFacts(knowledge, instance, now);
  const verdicts = instanceVerdicts(facts);
  const { config } = knowledge.configuration;
  const restarts = judgeRestarts(facts.exits, restartPolicy(config), now);
  const isActing = acting.has(instanceTarget(instance.gpu));
  const health = judgeHealth({ ...facts, verdicts, restarts, acting: isActing, lastLogAt: facts.startMovedAt });
  return { facts, verdicts, restarts, health, acting: isActing };
}

/** All that are wanted, by GPU. */
export const judgeInstances = (knowledge: Knowledge, acting: ReadonlySet<Target>, now: number): ReadonlyMap<number, JudgedInstance> =>
  new Map((knowledge.desired?.instances ?? []).map((instance) => [instance.gpu, judgeInstance(knowledge, instance, acting, now)]));
