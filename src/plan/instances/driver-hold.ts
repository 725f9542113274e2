import type { Verdict } from '../../domain/faults/verdict.ts';
import { instanceTarget } from '../../domain/identity.ts';
import type { DesiredInstance, ProcessState } from '../../domain/instances/instance.ts';
import { hold, type NewHold } from '../hold.ts';
import type { Exit } from './restart-policy.ts';

/** The driver tells nothing of cards that were there. */
export interface DriverGone {
  readonly reason: string;
  /** Epoch ms. */
  readonly since: number;
  /** The cards are those that an earlier agent saw: this one never heard of any. */
  readonly unread: boolean;
}

/** A process may end before the driver is asked the next time. */
const BEFORE_MS = 20_000;
const AT_REST = new Set(['stopped', 'errored']);

/**
 * An instance that ended while the driver is gone would end again and again: it is stopped until the driver answers, and none
 * is started on a card that this agent never saw. One that lives is left alone, whatever nvidia-smi says.
 */
export function driverHold(
  gone: DriverGone | null,
  instance: DesiredInstance,
  process: ProcessState | null,
  /** `works`: it has shown that it does, since it started last. */
  { exits, works }: { readonly exits: readonly Exit[]; readonly works: boolean },
): { readonly hold: NewHold; readonly stop: boolean } | null {
  if (gone === null || instance.mode !== 'gpu' || instance.desired === 'stopped' || instance.draining || instance.quarantined !== null)
    return null;
  if (gone.unread && process?.pid == null) {
    const reason = `its card was not seen since the agent started: ${gone.reason}`;
    return {
      hold: hold(instanceTarget(instance.gpu), 'GPU_QUERY_FAILED', reason, 'nothing to do: it is started when the driver answers'),
      stop: false,
    };
  }
  if (works) return null;
  const end = exits.findLast((exit) => !exit.wanted && exit.at >= gone.since - BEFORE_MS);
  if (end === undefined) return null;
  return {
    hold: hold(
      instanceTarget(instance.gpu),
      'GPU_QUERY_FAILED',
      `it ended with ${end.reason} and no new process could use a card: ${gone.reason}`,
      'nothing to do: it is started when the driver answers again',
    ),
    stop: process !== null && !AT_REST.has(process.status),
  };
}

/** No trial of a quarantined instance without a driver: it could only fail. */
export const trialHold = (gone: DriverGone | null, instance: DesiredInstance): NewHold | null =>
  gone === null || instance.mode !== 'gpu' || instance.quarantined === null
    ? null
    : hold(instanceTarget(instance.gpu), 'GPU_QUERY_FAILED', gone.reason, 'nothing to do: it is tried when the driver answers again');

/** Faults are told all the same; a new process would have no card, and the card is not to blame. */
export const heldRemedies = (gone: DriverGone | null, instance: DesiredInstance, verdicts: readonly Verdict[]): readonly Verdict[] =>
  gone === null || instance.mode !== 'gpu' || instance.quarantined !== null
    ? verdicts
    : verdicts.map((verdict): Verdict => ({ ...verdict, remedy: 'none', dueAt: null }));
