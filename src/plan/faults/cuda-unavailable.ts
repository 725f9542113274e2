import type { Verdict } from '../../domain/faults/verdict.ts';
import { toTime } from '../../domain/observed.ts';
import { cudaCause } from '../cards/cuda-help.ts';
import type { MachineVerdictFacts } from './facts.ts';

/**
 * No card can be used, for a cause that lies in the machine: every instance that is wanted ends, or fails its canary, with words of the
 * same cause. One that serves, or fails with other words, makes it a matter of single cards.
 */
export function cudaUnavailable({ failures }: Pick<MachineVerdictFacts, 'failures'>): readonly Verdict[] {
  const causes = failures.map((failure) => (failure === null ? null : cudaCause(failure.words)));
  const first = causes[0];
  if (first === null || first === undefined || causes.some((cause) => cause?.help !== first.help)) return [];
  const all = failures.length === 1 ? 'the instance fails' : `all ${failures.length} instances fail`;
  return [
    {
      fault: 'cuda-unavailable',
      reason: `no card can be used by CUDA, ${all} with: ${first.line}`,
      evidence: [...new Set(causes.flatMap((cause) => (cause === null ? [] : [cause.line])))].slice(0, 50),
      since: toTime(Math.min(...failures.flatMap((failure) => (failure === null ? [] : [failure.at])))),
      blocksReady: true,
      remedy: 'none',
      dueAt: null,
      next: first.help,
    },
  ];
}
