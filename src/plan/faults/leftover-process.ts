import type { Verdict } from '../../domain/faults/verdict.ts';
import { toTime } from '../../domain/observed.ts';
import { judgeLeftover } from '../instances/leftovers.ts';
import type { VerdictFacts } from './facts.ts';

const KEPT = 20;

/** Processes of the instance that nobody hosts. While PM2 cannot be asked nobody knows what it hosts. */
export function leftoverProcess({ config, process, owner, now }: VerdictFacts): readonly Verdict[] {
  const { leftover } = owner;
  if (leftover === null || !process.known) return [];
  const { waitsUntil, reason } = judgeLeftover(leftover, config, now);
  const since = toTime(leftover.since);
  return [
    {
      fault: 'leftover-process',
      reason,
      evidence: leftover.processes
        .slice(0, KEPT)
        .map(({ incarnation, command }) => `pid ${incarnation.pid}, since ${incarnation.startedAt}: ${command ?? 'unknown command'}`),
      since,
      blocksReady: false,
      // Takes no new work from the moment it was found; the planner ends it before anything else is done with the instance.
      remedy: 'restart-when-idle',
      dueAt: since,
      next:
        waitsUntil === null
          ? 'its process group is ended, and the instance is started once port and card are free'
          : `its jobs may end until ${toTime(waitsUntil)}; then, or when it is idle, it is ended and the instance is started`,
    },
  ];
}
