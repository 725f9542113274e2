import type { Action } from '../../domain/action.ts';
import type { Config } from '../../domain/configuration/config.ts';
import { instanceTarget } from '../../domain/identity.ts';
import type { Leftover } from '../../domain/instances/ownership.ts';
import { hold, type NewHold } from '../hold.ts';

export interface LeftoverStep {
  /** null: it is to be ended now. Epoch ms. */
  readonly waitsUntil: number | null;
  /** What is there and why it is (not) ended yet, one sentence. */
  readonly reason: string;
}

type Setting = Pick<Config, 'pm2' | 'health'>;

/**
 * What is done about the processes of an instance that nobody hosts: jobs that run there end first, within the limit of a drain.
 * @param isIdle its queue was read empty since everybody was told to send it no work
 */
export function judgeLeftover(leftover: Leftover, { pm2, health }: Setting, now: number, isIdle = leftover.jobs === 0): LeftoverStep {
  const what = `${pidsOf(leftover)} of ${leftover.name} ${leftover.processes.length === 1 ? 'was' : 'were'} left behind and no PM2 daemon hosts ${leftover.processes.length === 1 ? 'it' : 'them'}`;
  const end = (why: string): LeftoverStep => ({ waitsUntil: null, reason: `${what}; ${why}` });
  if (leftover.serving === null) return end('no jobs can be asked of it, so it is ended');
  if (pm2.leftovers === 'end') return end('it is ended, as pm2.leftovers says');
  if (isIdle) return end('it has no jobs, so it is ended');
  const drained = leftover.since + health.drainTimeoutMs;
  if (leftover.jobs === 0) return { waitsUntil: drained, reason: `${what}; it ends once its queue was read` };
  if (leftover.jobs !== null)
    return now >= drained
      ? end(`its jobs did not end within ${Math.round(health.drainTimeoutMs / 1_000)} s`)
      : { waitsUntil: drained, reason: `${what}; it ends after ${leftover.jobs} job${leftover.jobs === 1 ? '' : 's'}` };
  // One that does not answer may be in the middle of a job: it is given as long as one that PM2 hosts.
  const answered = Math.min(drained, (leftover.silentSince ?? leftover.since) + health.hangGraceMs);
  return now >= answered
    ? end('it does not answer when it is asked for its jobs')
    : { waitsUntil: answered, reason: `${what}; it has not yet told of its jobs` };
}

/** Pids, bounded: a crowd is not listed. */
export function pidsOf({ processes }: Pick<Leftover, 'processes'>): string {
  const pids = processes.slice(0, 5).map(({ incarnation }) => incarnation.pid);
  return `pid ${pids.join(', ')}${processes.length > pids.length ? ` and ${processes.length - pids.length} more` : ''}`;
}

/** The next step about what is left of one instance: it comes before any other step of that instance. */
export function planLeftover(
  leftover: Leftover,
  gpu: number,
  setting: Setting,
  now: number,
  /** `isIdle` as above; `atOnce`: somebody asked for a restart that waits for no jobs. */
  { isIdle, atOnce }: { readonly isIdle: boolean; readonly atOnce: boolean },
): { readonly actions: readonly Action[]; readonly holds: readonly NewHold[] } {
  const { waitsUntil, reason } = judgeLeftover(leftover, setting, now, isIdle);
  if (waitsUntil === null || atOnce) return { actions: [{ kind: 'end-leftovers', gpu, name: leftover.name, reason }], holds: [] };
  const help = `nothing to do: it is replaced by itself; \`agent restart ${gpu}\` or pm2.leftovers: end does it at once`;
  return { actions: [], holds: [hold(instanceTarget(gpu), 'DRAINING', reason, help)] };
}
