import type { Verdict } from '../../domain/faults/verdict.ts';
import { toTime } from '../../domain/observed.ts';
import { judgeRestarts, type RestartVerdict, restartPolicy } from '../instances/restart-policy.ts';
import type { VerdictFacts } from './facts.ts';

/** How its last incarnation ended, until the next one serves. What was asked for is no fault. */
export function exits({ config, instance, incarnation, probes, owner, exits: ends, now }: VerdictFacts): readonly Verdict[] {
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
      next: `${comesBack(instance, judgeRestarts(ends, restartPolicy(config), now))}${ADVICE[exit.cause]}`,
    },
  ];
}

/** When and by whom it is started again: PM2 does so at once, the agent keeps it from that. */
function comesBack({ quarantined }: VerdictFacts['instance'], { backOffUntil }: RestartVerdict): string {
  if (quarantined !== null) return 'it is quarantined';
  return backOffUntil === null ? 'PM2 starts it again' : `it is started again at ${toTime(backOffUntil)}`;
}

const ADVICE: Readonly<Record<NonNullable<VerdictFacts['owner']['lastExit']>['cause'], string>> = {
  'process-exit': '; when it ends too often it is quarantined',
  'clean-exit': '; a node pack may call sys.exit: its last lines tell',
  'out-of-memory-kill': '; give the machine (or its cgroup) more memory, or run fewer or smaller models',
};
