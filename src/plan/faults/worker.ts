import { WITNESS_PREFIX } from '../../domain/faults/log-signs.ts';
import type { Verdict } from '../../domain/faults/verdict.ts';
import { toTime } from '../../domain/observed.ts';
import type { VerdictFacts } from './facts.ts';

/** Jobs wait and none runs: between two jobs models may be unloaded for some seconds, hardly for longer. */
const WAITING_MS = 9_000;
/** What uses CPU meanwhile may still be at that. */
const WAITING_BUSY_MS = 60_000;

const number = (value: unknown): number | null => (typeof value === 'number' ? value : null);

/** The thread that runs jobs is dead while HTTP answers: told by the log at once, or by a queue that does not move. */
export function workerDead({ probes, config, instance, now }: VerdictFacts): readonly Verdict[] {
  const told = probes.get('log')?.latest.facts?.['workerDead'] as
    | { readonly at: number; readonly lines: readonly string[] }
    | null
    | undefined;
  const common = { fault: 'worker-dead', blocksReady: true, remedy: 'restart' } as const;
  if (told !== null && told !== undefined) {
    const why = told.lines[0]?.startsWith(WITNESS_PREFIX) === true ? 'a node ended it with sys.exit' : 'an exception ended it';
    return [
      {
        ...common,
        reason: `the worker thread is dead (${why}): prompts are accepted and never run`,
        evidence: [...told.lines],
        since: toTime(told.at),
        dueAt: null,
        next: 'it is restarted now',
      },
    ];
  }
  const http = probes.get('http');
  const waitingSince = number(http?.latest.facts?.['waitingSince']);
  if (http === undefined || http.consecutiveFailures >= config.health.http.failureThreshold) return [];
  if (waitingSince === null || http.latest.at - waitingSince < WAITING_MS) return [];
  const activity = probes.get('activity')?.latest;
  const isQuiet = activity !== undefined && activity.at >= waitingSince && number(activity.facts?.['quietSince']) !== null;
  const dueAt = waitingSince + (isQuiet ? WAITING_MS : WAITING_BUSY_MS);
  const pending = number(http.latest.facts?.['pending']) ?? 1;
  const seconds = Math.round((http.latest.at - waitingSince) / 1_000);
  return [
    {
      ...common,
      reason: `prompts are accepted and never run (waiting ${pending}, running none, for ${seconds} s): the worker thread is dead`,
      evidence: [`queue: ${pending} waiting, none running since ${toTime(waitingSince)}`],
      since: toTime(waitingSince),
      dueAt: toTime(dueAt),
      next:
        dueAt <= now
          ? 'it is restarted now'
          : `it is restarted at ${toTime(dueAt)} unless it takes a job; \`agent restart ${instance.gpu}\` does it at once`,
    },
  ];
}

/** One job runs, and nothing shows that it gets on: neither log nor CPU time. */
export function jobWithoutProgress({ probes, config, instance, now }: VerdictFacts): readonly Verdict[] {
  const record = probes.get('http');
  if (record === undefined || record.consecutiveFailures >= config.health.http.failureThreshold) return [];
  const http = record.latest;
  const headSince = number(http.facts?.['headSince']);
  const activity = probes.get('activity')?.latest;
  // Without a look at the process it may be at work.
  const quietSince = activity?.outcome === 'pass' ? number(activity.facts?.['quietSince']) : null;
  if (headSince === null || quietSince === null) return [];
  const movedAt = number(probes.get('log')?.latest.facts?.['movedAt']) ?? 0;
  const since = Math.max(headSince, quietSince, movedAt);
  if (now - since < config.health.noProgressMs) return [];
  return [
    {
      fault: 'job-without-progress',
      reason: `job ${String(http.facts?.['head'])} runs without progress for ${Math.round((now - since) / 60_000)} min: its log and its CPU time stand still`,
      evidence: [`job at the head since ${toTime(headSince)}`, `no CPU used since ${toTime(quietSince)}`],
      since: toTime(since),
      blocksReady: true,
      remedy: 'restart',
      dueAt: null,
      next: `it is restarted now; that job is lost (health.noProgressMs is ${config.health.noProgressMs}); see \`agent logs ${instance.gpu}\``,
    },
  ];
}
