import type { Verdict } from '../../domain/faults/verdict.ts';
import { toTime } from '../../domain/observed.ts';
import type { ProbeRecord } from '../health/assess.ts';
import type { VerdictFacts } from './facts.ts';

/** Kinds of a failed request that say: the process is there and serves nothing. */
const SILENT: ReadonlySet<unknown> = new Set(['timeout', 'refused', 'status', 'body']);

/**
 * Liveness: the process is there and HTTP is not. It takes no work at once; ending it waits, because a C extension that holds
 * the interpreter looks the same and comes back. One that is stopped or does nothing at all will not, and is ended sooner.
 */
export function hang(facts: VerdictFacts): readonly Verdict[] {
  const { config, probes } = facts;
  const http = probes.get('http');
  if (http === undefined || !http.everPassed) return stuckStart(facts);
  if (http.latest.outcome !== 'fail' || http.consecutiveFailures < config.health.http.failureThreshold) return [];
  const { kind, status } = http.latest.facts ?? {};
  if (!SILENT.has(kind) || (kind === 'status' && Number(status) < 500)) return [];

  const { fault, reason, dueAt, evidence } = judge(facts, http);
  return [
    {
      fault,
      reason,
      evidence: [http.latest.reason ?? 'no HTTP answer', ...evidence],
      since: toTime(http.since),
      blocksReady: true,
      remedy: dueAt === null ? 'none' : 'restart',
      dueAt: dueAt === null ? null : toTime(dueAt),
      next:
        dueAt === null
          ? 'a debugger holds it; it is left alone until that is gone'
          : `it is restarted at ${toTime(dueAt)} unless it answers before then; \`agent restart ${facts.instance.gpu}\` does it at once`,
    },
  ];
}

interface Judgement {
  readonly fault: Verdict['fault'];
  readonly reason: string;
  readonly dueAt: number | null;
  readonly evidence: readonly string[];
}

/** Told apart by state and by CPU time: stopped, busy (or its interpreter held by something busy), standing still. */
function judge({ config, probes, incarnation }: VerdictFacts, http: ProbeRecord): Judgement {
  const { hangGraceMs, hangIdleMs } = config.health;
  const graceAt = http.since + hangGraceMs;
  const idleAt = http.since + Math.min(hangIdleMs, hangGraceMs);
  const activity = probes.get('activity')?.latest;
  const pid = incarnation.known ? (incarnation.value?.pid ?? null) : null;
  const { kind } = http.latest.facts ?? {};
  // One that was made before the fault says nothing about it.
  if (activity === undefined || activity.outcome !== 'pass' || activity.at < http.since) {
    const reason =
      kind === 'timeout'
        ? 'the process runs and answers no HTTP (hung or stopped)'
        : `HTTP is down though the process runs: ${http.latest.reason}`;
    return { fault: 'hang', reason, dueAt: graceAt, evidence: [] };
  }
  const { state, cpuMs, share, quietSince } = activity.facts ?? {};
  const evidence = [`pid ${pid ?? 'unknown'}: state ${String(state)}, CPU time ${Math.round(Number(cpuMs))} ms`];
  if (state === 't')
    return { fault: 'stopped-process', reason: 'the process is held by a debugger and answers no HTTP', dueAt: null, evidence };
  if (state === 'T')
    return { fault: 'stopped-process', reason: 'the process is stopped (SIGSTOP) and answers no HTTP', dueAt: idleAt, evidence };
  if (kind !== 'timeout')
    return { fault: 'hang', reason: `HTTP is down though the process runs: ${http.latest.reason}`, dueAt: graceAt, evidence };
  if (typeof quietSince === 'number')
    return {
      fault: 'hang',
      reason: 'the process stands still: it answers no HTTP and uses no CPU',
      dueAt: Math.min(graceAt, Math.max(idleAt, quietSince + hangIdleMs)),
      evidence,
    };
  const percent = typeof share === 'number' ? `, ${Math.round(share * 100)} % of a core` : '';
  return {
    fault: 'busy-without-answer',
    reason: `the process is busy and answers no HTTP (a node or a pack blocks the server${percent})`,
    dueAt: graceAt,
    evidence,
  };
}

/** Startup: judged by progress, alive and its log moving, however long it takes. */
function stuckStart({ config, incarnation, instance, startMovedAt, now }: VerdictFacts): readonly Verdict[] {
  if (!incarnation.known || incarnation.value === null) return [];
  const { startupNoProgressMs, hangGraceMs } = config.health;
  const movedAt = Math.max(Date.parse(incarnation.value.startedAt), startMovedAt ?? 0);
  if (now - movedAt <= startupNoProgressMs) return [];
  const dueAt = movedAt + startupNoProgressMs + hangGraceMs;
  return [
    {
      fault: 'hang',
      reason: `starting without progress for ${Math.round((now - movedAt) / 1_000)} s; see \`agent logs ${instance.gpu}\``,
      evidence: [`pid ${incarnation.value.pid}, started ${incarnation.value.startedAt}; no line in its log since ${toTime(movedAt)}`],
      since: toTime(movedAt + startupNoProgressMs),
      blocksReady: true,
      remedy: 'restart',
      dueAt: toTime(dueAt),
      next: `it is restarted at ${toTime(dueAt)} unless it goes on`,
    },
  ];
}
