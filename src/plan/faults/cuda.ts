import { isStickyCudaError } from '../../domain/faults/log-signs.ts';
import type { Verdict } from '../../domain/faults/verdict.ts';
import { toTime } from '../../domain/observed.ts';
import type { VerdictFacts } from './facts.ts';

interface Sign {
  readonly at: number;
  readonly line: string;
}

/** An out-of-memory error of a job is shown this long (the journal keeps it). */
const OUT_OF_MEMORY_MS = 30_000;

/** The CUDA context is lost: every job that uses the card fails from now on, and only a new process heals it. */
export function cudaError({ probes }: VerdictFacts): readonly Verdict[] {
  const canary = probes.get('canary');
  const told = probes.get('log')?.latest.facts?.['cudaError'] as Sign | null | undefined;
  const fromCanary = canary?.latest.outcome === 'fail' && isStickyCudaError(canary.latest.reason ?? '') ? canary : null;
  const sign = told ?? (fromCanary === null ? null : { at: fromCanary.since, line: fromCanary.latest.reason ?? '' });
  if (sign === null) return [];
  return [
    {
      fault: 'cuda-error',
      reason: `its CUDA context is broken: ${sign.line}`,
      evidence: [sign.line],
      since: toTime(sign.at),
      blocksReady: true,
      remedy: 'restart',
      dueAt: null,
      next: 'it is restarted now; every later job on the card would fail',
    },
  ];
}

/** A job did not fit into the memory of the card. The instance is in order: it gives back what it keeps, and goes on. */
export function jobOutOfMemory({ probes, now }: VerdictFacts): readonly Verdict[] {
  const sign = probes.get('log')?.latest.facts?.['outOfMemory'] as Sign | null | undefined;
  if (sign === null || sign === undefined || now - sign.at > OUT_OF_MEMORY_MS) return [];
  return [
    {
      fault: 'job-out-of-memory',
      reason: 'a job ran out of memory on the card',
      evidence: [sign.line],
      since: toTime(sign.at),
      blocksReady: false,
      remedy: 'free-memory',
      dueAt: null,
      next: 'cached models are given back (POST /free); it is not restarted',
    },
  ];
}
