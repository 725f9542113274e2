import type { RolloutTurn } from '../plan/instance.ts';
import type { Knowledge } from './knowledge.ts';

/** A queue that was read before nobody was sent there any more says nothing of the jobs that came since. */

/** Since when each instance drains, by the desired state of now. */
export function noteDraining({ desired, drainingSince }: Knowledge, now: number): void {
  for (const { gpu, draining } of desired?.instances ?? []) {
    if (!draining) drainingSince.delete(gpu);
    else if (!drainingSince.has(gpu)) drainingSince.set(gpu, now);
  }
}

/** A worker may have looked just before, and its prompt be on the way: for that long an empty queue says nothing. */
export const ON_THE_WAY_MS = 500;

/** It drains, and its queue was not read since all that was sent to it must have come. */
export function isQueueOld({ drainingSince, probes }: Knowledge, gpu: number): boolean {
  const since = drainingSince.get(gpu);
  return since !== undefined && (probes.get(`comfyui-gpu${gpu}`)?.get('http')?.latest.at ?? 0) < since + ON_THE_WAY_MS;
}

/** Those whose queue decides whether they may go, and must be read for that. */
export const queuesToRead = (knowledge: Knowledge, turns: ReadonlyMap<number, RolloutTurn>): number[] => [
  ...[...turns].flatMap(([gpu, { looked }]) => (looked ? [] : [gpu])),
  ...[...knowledge.drainingSince.keys()].filter((gpu) => isQueueOld(knowledge, gpu)),
];
