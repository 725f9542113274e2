import { type Incarnation, incarnationKey } from '../domain/instance.ts';
import type { ObservedState } from '../domain/state.ts';
import type { RolloutTurn } from '../plan/instance.ts';
import { planRollout, type RolloutMember, type RolloutStep, watchMember } from '../plan/rollout.ts';
import type { Documents } from './documents.ts';
import type { Knowledge } from './knowledge.ts';

export interface RolloutView {
  readonly step: RolloutStep;
  readonly turns: ReadonlyMap<number, RolloutTurn>;
}

/**
 * How far a rollout is, from what was just observed and the documents of a moment before. Keeps in `knowledge` what only
 * time can tell: since when an instance runs from the new release, since when it takes no new jobs.
 * @returns null when there is none, or when it cannot be seen
 */
export function viewRollout(knowledge: Knowledge, documents: Documents, acting: ReadonlySet<string>, now: number): RolloutView | null {
  const { rollout } = knowledge.intents;
  const { desired, observed, configuration, watches, turnsSince } = knowledge;
  if (rollout === null) {
    watches.clear();
    turnsSince.clear();
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
    const document = documents.instances.instances.find((candidate) => candidate.gpu === gpu);
    const isPresent = incarnation !== null && document?.pid === incarnation.pid && document.startedAt === incarnation.startedAt;
    const layers = isPresent ? document.layers : null;
    const up = layers?.runtime.status === 'pass' && layers.functional.status === 'pass' && !acting.has(`instance ${gpu}`);
    const isMoved = process === null || process.release === rollout.to;
    if (!isMoved) watches.delete(gpu);
    else if (!acting.has(`instance ${gpu}`)) {
      const mark = JSON.stringify([knowledge.logMovedAt.get(name) ?? 0, layers?.runtime.status, layers?.functional.status]);
      const broken = layers?.functional.status === 'fail';
      watches.set(gpu, watchMember(watches.get(gpu) ?? null, { mark, broken, exits: knowledge.exits.get(name) ?? [] }, now));
    }
    return {
      gpu,
      wanted: instance.desired === 'running' && !instance.draining,
      quarantined: instance.quarantined,
      release: process?.release ?? null,
      up,
      reason: document?.hold ?? (layers?.runtime.status === 'pass' ? layers.functional.reason : document?.layers.runtime.reason) ?? null,
      watch: watches.get(gpu) ?? null,
    };
  });
  const step = planRollout({
    rollout,
    current: observed.release.value?.id ?? null,
    members,
    noProgressMs: configuration.config.install.validateTimeoutMs,
    now,
  });
  for (const gpu of turnsSince.keys()) if (!step.next.includes(gpu)) turnsSince.delete(gpu);
  const turns = step.next.map((gpu): [number, RolloutTurn] => {
    const since = turnsSince.get(gpu) ?? now;
    turnsSince.set(gpu, since);
    return [gpu, { since, looked: queueReadAfter(knowledge, gpu, since), up: members.find((member) => member.gpu === gpu)?.up ?? false }];
  });
  return { step, turns: new Map(turns) };
}

/** What cannot be seen proves nothing, neither that it serves nor that it does not. */
function seenIncarnation(observed: ObservedState | null, name: string): Incarnation | null {
  const incarnation = observed?.incarnations.get(name);
  return incarnation?.known === true ? incarnation.value : null;
}

/** Jobs may have come in until the moment at which nobody was sent here any more. */
function queueReadAfter(knowledge: Knowledge, gpu: number, since: number): boolean {
  const name = `comfyui-gpu${gpu}`;
  const incarnation = seenIncarnation(knowledge.observed, name);
  const latest = knowledge.probes.get(name)?.get('http')?.latest;
  return (
    incarnation !== null &&
    latest !== undefined &&
    latest.incarnation === incarnationKey(incarnation) &&
    latest.at - latest.durationMs > since
  );
}
