import type { Action } from '../domain/action.ts';
import type { DesiredInstance } from '../domain/instance.ts';
import type { Verdict } from '../domain/verdict.ts';
import { hold, type NewHold } from './hold.ts';
import type { RestartVerdict } from './restart-policy.ts';

export interface RemedyInput {
  readonly instance: DesiredInstance;
  /** The worst first. */
  readonly verdicts: readonly Verdict[];
  readonly restarts: RestartVerdict;
  readonly queue: { readonly running: number; readonly pending: number } | null;
  /** When the queue was read. Epoch ms. */
  readonly queueReadAt: number | null;
  /** `since` of the verdict whose free-memory was carried out last; null: none was. */
  readonly freedFor: string | null;
  /** Another instance is away just now. */
  readonly rolling: boolean;
  readonly drainTimeoutMs: number;
  readonly now: number;
}

/** Since when a remedy is called for; null: not yet, or never. Epoch ms. */
export function dueSince(verdict: Verdict, now: number): number | null {
  if (verdict.remedy === 'none') return null;
  const due = Date.parse(verdict.dueAt ?? verdict.since);
  return due <= now ? due : null;
}

/** Whether a verdict keeps new work away: because of the fault, or because the instance is being emptied for a restart. */
export const keepsWorkAway = (verdict: Verdict, now: number): boolean =>
  verdict.blocksReady || (verdict.remedy === 'restart-when-idle' && dueSince(verdict, now) !== null);

export interface RemedyStep {
  readonly action: Action | null;
  readonly hold: NewHold | null;
}

/** What is done about the verdicts on one instance that has a process: the first remedy that is due, one at a time. */
export function planRemedy(input: RemedyInput): RemedyStep | null {
  const { instance, verdicts, now } = input;
  const { gpu, name } = instance;
  const due = verdicts.filter((verdict) => dueSince(verdict, now) !== null);
  const first = (remedy: Verdict['remedy']): Verdict | undefined => due.find((verdict) => verdict.remedy === remedy);

  const quarantine = first('quarantine');
  if (quarantine !== undefined)
    return { action: { kind: 'quarantine-instance', gpu, name, reason: quarantine.reason, fault: quarantine.fault }, hold: null };
  const restart = first('restart');
  if (restart !== undefined) return { action: endFor(input, restart), hold: null };
  const recycle = first('restart-when-idle');
  if (recycle !== undefined) return recycleWhenIdle(input, recycle);
  const free = due.find((verdict) => verdict.remedy === 'free-memory' && verdict.since !== input.freedFor);
  if (free !== undefined) return { action: { kind: 'free-memory', gpu, name, reason: free.reason, since: free.since }, hold: null };
  return null;
}

/** It takes no new work from the moment the remedy is due; a queue that was read before then may have grown since. */
function recycleWhenIdle(input: RemedyInput, verdict: Verdict): RemedyStep {
  const { instance, queue, queueReadAt, now } = input;
  const { gpu, name } = instance;
  const since = dueSince(verdict, now) ?? now;
  const jobs = queue === null ? null : queue.running + queue.pending;
  const isIdle = jobs === 0 && queueReadAt !== null && queueReadAt > since;
  const target = `instance ${gpu}`;
  const help = `\`agent restart ${gpu}\` restarts it at once`;
  if (!isIdle && now - since < input.drainTimeoutMs) {
    const waits = jobs === null || jobs === 0 ? 'once its queue was read' : `after ${jobs} job${jobs === 1 ? '' : 's'}`;
    return { action: null, hold: hold(target, 'DRAINING', `restarts ${waits}: ${verdict.reason}`, help) };
  }
  if (input.rolling && !verdict.blocksReady)
    return { action: null, hold: hold(target, 'ROLLING', `restarts when another instance is back: ${verdict.reason}`, help) };
  // What serves well until then is recycled by plan, and has not failed.
  if (!verdict.blocksReady) return { action: { kind: 'restart-instance', gpu, name, reason: verdict.reason, fault: null }, hold: null };
  return { action: endFor(input, verdict), hold: null };
}

/** A restart because of a fault counts as an end of its own; one too many is a stop, and the start follows after a pause. */
function endFor({ instance: { gpu, name }, restarts }: RemedyInput, { reason, fault }: Verdict): Action {
  const about = { gpu, name, reason, fault };
  return restarts.nextBacksOff ? { kind: 'stop-instance', ...about } : { kind: 'restart-instance', ...about };
}
