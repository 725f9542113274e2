import { toTime } from '../../domain/observed.ts';
import type { Verdict } from '../../domain/verdict.ts';
import type { VerdictFacts } from '../verdict-facts.ts';

/** How its last incarnation ended, until the next one serves. What was asked for is no fault. */
export function exits({ instance, incarnation, probes, owner }: VerdictFacts): readonly Verdict[] {
  const exit = owner.lastExit;
  if (exit === null || exit.wanted || instance.desired === 'stopped') return [];
  const serves = incarnation.known && incarnation.value !== null && probes.get('http')?.everPassed === true;
  if (serves) return [];
  const pid = exit.pid === null ? '' : ` (pid ${exit.pid})`;
  return [
    {
      fault: exit.cause,
      reason: `its process${pid} ended by itself: ${exit.reason}`,
      evidence: [...exit.kernel, ...exit.lines].slice(-50),
      since: toTime(exit.at),
      blocksReady: false,
      remedy: 'none',
      dueAt: null,
      next: NEXT[exit.cause],
    },
  ];
}

const NEXT: Readonly<Record<NonNullable<VerdictFacts['owner']['lastExit']>['cause'], string>> = {
  'process-exit': 'PM2 starts it again; when it ends too often it is quarantined',
  'clean-exit': 'PM2 starts it again; a node pack may call sys.exit: its last lines tell',
  'out-of-memory-kill': 'PM2 starts it again; give the machine (or its cgroup) more memory, or run fewer or smaller models',
};
