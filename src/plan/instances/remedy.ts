import type { Action } from '../../domain/action.ts';
import type { Verdict } from '../../domain/faults/verdict.ts';
import { instanceTarget } from '../../domain/identity.ts';
import type { DesiredInstance } from '../../domain/instances/instance.ts';
import { hold, type NewHold } from '../hold.ts';
import { dueSince, jobsLeft, type Leaving, mayGo } from './leaving.ts';
import type { RestartVerdict } from './restart-policy.ts';

export interface RemedyInput {
  readonly instance: DesiredInstance;
  /** The worst first. */
  readonly verdicts: readonly Verdict[];
  readonly restarts: RestartVerdict;
  /** null: it is not about to leave. */
  readonly leaving: Leaving | null;
  /** `since` of the verdict whose free-memory was carried out last; null: none was. */
  readonly freedFor: string | null;
  readonly now: number;
}

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

/** It takes no new work from the moment it leaves. */
function recycleWhenIdle(input: RemedyInput, verdict: Verdict): RemedyStep {
  const { instance, leaving, now } = input;
  const { gpu, name } = instance;
  const target = instanceTarget(gpu);
  const help = `\`agent restart ${gpu}\` restarts it at once`;
  if (leaving === null)
    return { action: null, hold: hold(target, 'ROLLING', `restarts when another instance is back: ${verdict.reason}`, help) };
  if (!mayGo(leaving, now)) {
    const left = jobsLeft(leaving);
    const waits = left === null ? 'once its queue was read' : `after ${left}`;
    return { action: null, hold: hold(target, 'DRAINING', `restarts ${waits}: ${verdict.reason}`, help) };
  }
  // What serves well until then is recycled by plan, and has not failed.
  if (!verdict.blocksReady) return { action: { kind: 'restart-instance', gpu, name, reason: verdict.reason, fault: null }, hold: null };
  return { action: endFor(input, verdict), hold: null };
}

/** A restart because of a fault counts as an end of its own; one too many is a stop, and the start follows after a pause. */
function endFor({ instance: { gpu, name }, restarts }: RemedyInput, { reason, fault }: Verdict): Action {
  const about = { gpu, name, reason, fault };
  return restarts.nextBacksOff ? { kind: 'stop-instance', ...about } : { kind: 'restart-instance', ...about };
}
