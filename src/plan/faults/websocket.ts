import type { Verdict } from '../../domain/faults/verdict.ts';
import { toTime } from '../../domain/observed.ts';
import type { VerdictFacts } from './facts.ts';

/** HTTP answers and no WebSocket stays open, after several tries: workers would wait for ever for what they have sent. */
export function websocketGone({ probes, config, instance }: VerdictFacts): readonly Verdict[] {
  const record = probes.get('websocket');
  const http = probes.get('http');
  // While HTTP is down too, that is the fault; one lost answer says nothing.
  if (http === undefined || http.consecutiveFailures >= config.health.http.failureThreshold) return [];
  if (record === undefined || record.latest.outcome !== 'fail') return [];
  if (record.consecutiveFailures < config.health.websocket.failureThreshold) return [];
  const dueAt = toTime(record.since + config.health.hangIdleMs);
  return [
    {
      fault: 'websocket-gone',
      reason: `no WebSocket can be opened though HTTP answers (${record.consecutiveFailures} tries)`,
      evidence: [record.latest.reason ?? 'the WebSocket failed'],
      since: toTime(record.since),
      blocksReady: true,
      remedy: 'restart-when-idle',
      dueAt,
      next: `it is restarted once its jobs are done, from ${dueAt} on; if it is so after each start, see \`agent logs ${instance.gpu}\` (aiohttp 3.14.2 and 3.14.3 are known for it)`,
    },
  ];
}
