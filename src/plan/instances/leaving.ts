import type { Verdict } from '../../domain/faults/verdict.ts';
import type { DesiredInstance, Incarnation, ProcessState, QueueReading } from '../../domain/instances/instance.ts';
import type { Observed } from '../../domain/observed.ts';

/** A worker may have seen "ready" just before, and its prompt be on the way: for that long an empty queue says nothing. */
export const ON_THE_WAY_MS = 500;

/** PM2's words for an entry whose process it will not start by itself. */
const AT_REST: ReadonlySet<string> = new Set(['stopped', 'errored']);

/** Whose process is there, or may be. */
export const isPresent = (process: ProcessState | null): boolean => process !== null && !AT_REST.has(process.status);

/** Why an instance is about to leave. `settings` and `recycle` of what serves well are changes of our own: one instance at a time. */
export type LeavingCause = 'stop' | 'drain' | 'restart' | 'recycle' | 'rollout' | 'settings' | 'unhosted';

/** An instance whose process is about to end. It is not ready, not in discovery as ready, and goes when it is idle. */
export interface Leaving {
  readonly why: LeavingCause;
  /** Since when everybody is told that it takes no work; null: that is about to be told. Epoch ms. */
  readonly since: number | null;
  /** When it goes whatever it has; null: it waits for its jobs. Epoch ms. */
  readonly until: number | null;
  readonly takesWork: false;
  /** `yes` only by a queue that was read after everything that was sent to it must have come. */
  readonly idle: 'yes' | 'no' | 'unknown';
  /** As last read; null: it does not tell. */
  readonly jobs: number | null;
}

export interface LeavingFacts {
  readonly instance: DesiredInstance;
  readonly process: Observed<ProcessState | null>;
  readonly incarnation: Observed<Incarnation | null>;
  /** Of the launch it should run; null while there is no release or no port: it could not come back. */
  readonly launchDigest: string | null;
  /** Faults as judged now. */
  readonly verdicts: readonly Verdict[];
  /** What it should run can be started, as far as is known: nothing is given up for what cannot. */
  readonly canStart: boolean;
  /** Its part in a rollout: null when it has none (any more). */
  readonly move: 'wait' | 'turn' | null;
  /** It runs and nobody hosts it: a process that PM2 hosts takes its place. */
  readonly unhosted: boolean;
  /** Since when it is told to take no work; null: it is not. Epoch ms. */
  readonly since: number | null;
  /** Of the process that runs now; null: it was not asked. */
  readonly queue: QueueReading | null;
  /** This process may have served: one that never listened can have no jobs. */
  readonly hasServed: boolean;
  readonly drainTimeoutMs: number;
  readonly now: number;
}

/** Since when a remedy is called for; null: not yet, or never. Epoch ms. */
export function dueSince(verdict: Verdict, now: number): number | null {
  if (verdict.remedy === 'none') return null;
  const due = Date.parse(verdict.dueAt ?? verdict.since);
  return due <= now ? due : null;
}

/** May it go now? */
export const mayGo = ({ idle, until }: Leaving, now: number): boolean => idle === 'yes' || (until !== null && now >= until);

/** "2 jobs"; null: its queue does not tell of any. */
export const jobsLeft = ({ jobs }: Leaving): string | null => (jobs === null || jobs === 0 ? null : `${jobs} job${jobs === 1 ? '' : 's'}`);

/** What a reading of a queue says of one that takes no work since that moment (null: it was not told yet). */
export function idleness(queue: QueueReading | null, since: number | null): Leaving['idle'] {
  if (queue === null || queue.jobs === null) return 'unknown';
  if (queue.jobs > 0) return 'no';
  return since !== null && queue.askedAt >= since + ON_THE_WAY_MS ? 'yes' : 'unknown';
}

/** Whether and why one instance is about to leave, and whether it may: the one answer for everybody who asks. */
export function leaving(facts: LeavingFacts): Leaving | null {
  const cause = causeOf(facts);
  if (cause === null) return null;
  const { since, queue, hasServed } = facts;
  return {
    ...cause,
    since,
    takesWork: false,
    idle: hasServed ? idleness(queue, since) : 'yes',
    jobs: hasServed ? (queue?.jobs ?? null) : 0,
  };
}

function causeOf(facts: LeavingFacts): { readonly why: LeavingCause; readonly until: number | null } | null {
  const { instance, launchDigest, move, since, drainTimeoutMs, now } = facts;
  if (instance.quarantined !== null) return null;
  if (instance.desired === 'stopped') return { why: 'stop', until: now };
  if (instance.draining) return { why: 'drain', until: null };
  const asked = instance.restartRequestedAt;
  if (asked !== null && startedBefore(facts, asked) && (launchDigest !== null || facts.unhosted))
    return { why: 'restart', until: instance.drainBeforeRestart ? asked + drainTimeoutMs : asked };
  if (facts.unhosted) return { why: 'unhosted', until: null };
  const process = facts.process.known ? facts.process.value : null;
  if (launchDigest === null || !facts.canStart || process === null || !isPresent(process)) return null;
  const recycle = dueRecycle(facts.verdicts, now);
  if (recycle !== null) return { why: 'recycle', until: (dueSince(recycle, now) ?? now) + drainTimeoutMs };
  if (process.entryDigest === launchDigest || move === 'wait') return null;
  if (move === 'turn') return { why: 'rollout', until: since === null ? null : since + drainTimeoutMs };
  // It may have jobs, and nobody can ask it.
  return facts.incarnation.known ? { why: 'settings', until: null } : null;
}

/** The restart between jobs that is called for; null: none is, or something worse is. */
export function dueRecycle(verdicts: readonly Verdict[], now: number): Verdict | null {
  return verdicts.find((verdict) => verdict.remedy === 'restart-when-idle' && dueSince(verdict, now) !== null) ?? null;
}

/** Whether it leaves by a change of our own that can wait until another instance is back. */
const isVoluntary = ({ verdicts, now }: LeavingFacts, why: LeavingCause): boolean =>
  why === 'settings' || (why === 'recycle' && dueRecycle(verdicts, now)?.blocksReady === false);

/**
 * All instances that are about to leave, by GPU. Of those that could stay one leaves at a time, and none while another instance
 * is away: whoever has begun goes first, then the lowest number.
 */
export function leavings(all: readonly LeavingFacts[], away: ReadonlySet<number>): ReadonlyMap<number, Leaving> {
  const found = all.flatMap((facts) => {
    const answer = leaving(facts);
    return answer === null ? [] : [{ gpu: facts.instance.gpu, answer, canWait: isVoluntary(facts, answer.why) }];
  });
  const order = ({ gpu, answer: { since } }: (typeof found)[number]): readonly [number, number] => [since ?? Number.POSITIVE_INFINITY, gpu];
  const volunteers = found
    .filter(({ gpu, canWait }) => canWait && ![...away].some((other) => other !== gpu))
    .sort((a, b) => {
      const [[sinceA, gpuA], [sinceB, gpuB]] = [order(a), order(b)];
      return sinceA === sinceB ? gpuA - gpuB : sinceA - sinceB;
    });
  return new Map(found.filter((one) => !one.canWait || one === volunteers[0]).map(({ gpu, answer }) => [gpu, answer]));
}

/** Without an incarnation PM2's own start time decides; a respawn that is under way counts as started. */
function startedBefore({ process, incarnation }: LeavingFacts, moment: number): boolean {
  const startedAt = process.known ? process.value?.startedAt : null;
  if (startedAt !== null && startedAt !== undefined) return startedAt < moment;
  return incarnation.known && incarnation.value !== null && Date.parse(incarnation.value.startedAt) < moment;
}
