import { toTime } from '../../domain/observed.ts';
import type { Verdict } from '../../domain/verdict.ts';
import type { VerdictFacts } from '../verdict-facts.ts';

/** The process is there and answers no HTTP any more. */
export function hang({ config, probes }: VerdictFacts): readonly Verdict[] {
  const http = probes.get('http');
  const kind = http?.latest.facts?.['kind'];
  if (http === undefined || !http.everPassed || http.latest.outcome !== 'fail' || kind !== 'timeout') return [];
  if (http.consecutiveFailures < config.health.http.failureThreshold) return [];
  return [
    {
      fault: 'hang',
      reason: http.latest.reason ?? 'it does not answer HTTP',
      evidence: [],
      since: toTime(http.since),
      blocksReady: true,
      remedy: 'none',
      dueAt: null,
      next: 'it is ready again once it answers',
    },
  ];
}
