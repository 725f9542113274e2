import { instanceTarget, type Target } from '../../domain/identity.ts';
import type { Incarnation } from '../../domain/instances/instance.ts';
import type { ObservedState } from '../../domain/state/state.ts';
import { planRollout, type RolloutMember, type RolloutStep, watchMember } from '../../plan/releases/rollout.ts';
import type { JudgedInstance } from '../health/judged.ts';
import type { Knowledge } from '../knowledge.ts';

/**
 * How far a rollout is, from what was just observed. Keeps in `knowledge` what only
 * time can tell: since when an instance runs from the new release.
 * @returns null when there is none, or when it cannot be seen
 */
export function viewRollout(
  knowledge: Knowledge,
  judged: ReadonlyMap<number, JudgedInstance>,
  acting: ReadonlySet<Target>,
  now: number,
): RolloutStep | null {
  const { rollout } = knowledge.intents;
  const { desired, observed, configuration, instances } = knowledge;
  if (rollout === null) {
    instances.replace('watch', new Map());
    return null;
  }
  // While the agent leaves, its instances leave with it: that tells nothing of a release.
  if (desired === null || observed === null || knowledge.stopping || knowledge.switching) return null;
  const { processes } = observed;
  if (!processes.known || !observed.release.known) return null;
  const members = desired.instances.map((instance): RolloutMember => {
    const { gpu, name } = instance;
    const process = processes.value.find((candidate) => candidate.name === name) ?? null;
    const incarnation = seenIncarnation(observed, name);
    const health = judged.get(gpu)?.health ?? null;
    // Of a process that cannot be seen nothing is proved.
    const layers = incarnation === null ? null : health;
    const up = layers?.runtime.status === 'pass' && layers.functional.status === 'pass' && !acting.has(instanceTarget(gpu));
    const held = knowledge.holds.find(({ target }) => target === instanceTarget(gpu))?.reason;
    const isMoved = process === null || process.release === rollout.to;
    const record = instances.of(gpu);
    if (!isMoved) record.watch = null;
    else if (!acting.has(instanceTarget(gpu))) {
      const mark = JSON.stringify([record.log?.movedAt ?? 0, layers?.runtime.status, layers?.functional.status]);
      const broken = layers?.functional.status === 'fail';
      record.watch = watchMember(record.watch, { mark, broken, exits: record.exits }, now);
    }
    return {
      gpu,
      wanted: instance.desired === 'running' && !instance.draining,
      quarantined: instance.quarantined,
      release: process?.release ?? null,
      up,
      reason: held ?? (layers?.runtime.status === 'pass' ? layers.functional.reason : health?.runtime.reason) ?? null,
      watch: record.watch,
    };
  });
  return planRollout({
    rollout,
    current: observed.release.value?.id ?? null,
    members,
    noProgressMs: configuration.config.install.validateTimeoutMs,
    now,
  });
}

/** What cannot be seen proves nothing, neither that it serves nor that it does not. */
function seenIncarnation(observed: ObservedState | null, name: string): Incarnation | null {
  const incarnation = observed?.incarnations.get(name);
  return incarnation?.known === true ? incarnation.value : null;
}
