import type { Action } from '../domain/action.ts';
import type { Config } from '../domain/config.ts';
import type { DesiredInstance, Incarnation, ProcessState } from '../domain/instance.ts';
import { type Observed, toTime } from '../domain/observed.ts';
import type { Verdict } from '../domain/verdict.ts';
import { hold, type NewHold } from './hold.ts';
import { planQuarantine } from './quarantine.ts';
import { dueSince, planRemedy } from './remedy.ts';
import type { RestartVerdict } from './restart-policy.ts';

export interface InstanceInput {
  readonly instance: DesiredInstance;
  /** What PM2 shows under its name; null: nothing. */
  readonly process: Observed<ProcessState | null>;
  /** null: none. Unknown: PM2 names a process that is not shown. */
  readonly incarnation: Observed<Incarnation | null>;
  /** Digest of the launch it should run; null while there is no release or no port. */
  readonly launchDigest: string | null;
  /** Why there is no launch. */
  readonly missing: string | null;
  /** Jobs in the instance; null when not known. */
  readonly queue: { readonly running: number; readonly pending: number } | null;
  /** When that was read. Epoch ms. */
  readonly queueReadAt: number | null;
  /** This process may have served: one that never listened can have no jobs. */
  readonly hasServed: boolean;
  readonly restarts: RestartVerdict;
  /** Faults as judged now, the worst first. */
  readonly verdicts: readonly Verdict[];
  /** `since` of the verdict whose memory was freed last. */
  readonly freedFor: string | null;
  /** Another instance is away because of a change just now: changes are rolled one at a time. */
  readonly rolling: boolean;
  /** Its part in a rollout: null when it has none (any more); `wait` until it is its turn. */
  readonly move: 'wait' | RolloutTurn | null;
  /** Stranger on the card or on the port. */
  readonly blocked: NewHold | null;
  /** What its runtime and functional layers say: passed, failed with a reason, or not known yet. */
  readonly proof: { readonly passed: boolean; readonly failure: string | null };
  readonly quarantine: Config['health']['quarantine'];
  readonly drainTimeoutMs: number;
  readonly now: number;
}

/** It is this instance's turn to be moved to another release. */
export interface RolloutTurn {
  /** Since when it takes no new jobs. Epoch ms. */
  readonly since: number;
  /** Its queue was read after that moment: what it says is the end of it. */
  readonly looked: boolean;
  readonly up: boolean;
}

export interface InstanceStep {
  readonly action: Action | null;
  readonly hold: NewHold | null;
}

const NOTHING: InstanceStep = { action: null, hold: null };

/** PM2's words for an entry whose process it will not start by itself. */
const AT_REST = new Set(['stopped', 'errored']);

/** The next step of one instance, read from top to bottom; at most one action. */
export function planInstance(input: InstanceInput): InstanceStep {
  const { instance, process: seen } = input;
  const target = `instance ${instance.gpu}`;
  const held = (code: string, reason: string, help: string): InstanceStep => ({ action: null, hold: hold(target, code, reason, help) });
  const { gpu, name } = instance;
  const act = (kind: 'start-instance' | 'stop-instance' | 'restart-instance', reason: string): InstanceStep => ({
    action: kind === 'start-instance' ? { kind, gpu, name, reason } : { kind, gpu, name, reason, fault: null },
    hold: null,
  });

  // Never a second process because the first could not be seen.
  if (!seen.known)
    return held('UNKNOWN', `its process could not be seen: ${seen.reason}`, 'see `agent doctor`; nothing is started or stopped meanwhile');
  const process = seen.value;
  const present = process !== null && !AT_REST.has(process.status);

  if (instance.quarantined !== null)
    return planQuarantine({
      ...input,
      settings: input.quarantine,
      present,
      canStart: input.launchDigest !== null && input.blocked === null,
    });
  if (instance.desired === 'stopped' || instance.draining) {
    if (!present) return NOTHING;
    const jobs = jobsIn(input.queue) ?? (input.hasServed ? null : 0);
    // It would be ended now if it were to stay; whoever waits for it to leave need not wait longer.
    const lost = input.verdicts.find((verdict) => verdict.remedy === 'restart' && dueSince(verdict, input.now) !== null);
    if (instance.draining && lost !== undefined)
      return { action: { kind: 'stop-instance', gpu, name, reason: lost.reason, fault: lost.fault }, hold: null };
    if (instance.draining && jobs !== 0) {
      return held(
        'DRAINING',
        jobs === null ? 'draining; its queue cannot be read yet' : `draining: ${jobs} job${jobs === 1 ? '' : 's'} left`,
        `\`agent uncordon ${instance.gpu}\` ends the drain`,
      );
    }
    return act('stop-instance', instance.draining ? 'drained' : 'stop was asked for');
  }
  const { restarts } = input;
  if (restarts.quarantine !== null)
    return { action: { kind: 'quarantine-instance', gpu, name, reason: restarts.quarantine, fault: 'crash-loop' }, hold: null };
  if (restarts.backOffUntil !== null) {
    const reason = `ended ${restarts.inWindow} times, last: ${restarts.lastReason}; it is started again at ${toTime(restarts.backOffUntil)}`;
    // PM2 starts it sooner.
    if (present) return act('stop-instance', reason);
    return held('BACK_OFF', reason, `\`agent start ${gpu}\` starts it at once; see \`agent logs ${gpu}\``);
  }
  if (input.launchDigest === null)
    return present || input.missing === null ? NOTHING : held('WAITING', input.missing, 'nothing to do: it follows by itself');
  if (!present)
    return input.blocked === null
      ? act('start-instance', process === null ? 'it should be running' : `it was ${process.status}`)
      : { action: null, hold: input.blocked };

  const jobs = jobsIn(input.queue);
  if (instance.restartRequestedAt !== null && startedBefore(input, instance.restartRequestedAt)) {
    if (instance.drainBeforeRestart && jobs !== 0 && input.now - instance.restartRequestedAt < input.drainTimeoutMs) {
      return held(
        'DRAINING',
        jobs === null ? 'restart waits for its queue, which cannot be read yet' : `restart waits for ${jobs} job${jobs === 1 ? '' : 's'}`,
        `\`agent restart ${instance.gpu}\` without --drain restarts at once`,
      );
    }
    return act('restart-instance', 'restart was asked for');
  }
  const remedy = planRemedy(input);
  if (remedy !== null) return remedy;
  if (process.entryDigest !== input.launchDigest && input.move !== null) {
    if (input.move === 'wait')
      return held('ROLLING', 'runs the earlier release until it is its turn', 'nothing to do: it follows by itself');
    const left = jobsLeft(input.move, jobs);
    if (left !== 0 && input.now - input.move.since < input.drainTimeoutMs)
      return held(
        'DRAINING',
        left === null
          ? 'moves to the new release once its queue was read'
          : `moves to the new release after ${left} job${left === 1 ? '' : 's'}`,
        `\`agent restart ${instance.gpu}\` moves it at once`,
      );
    return act('restart-instance', 'it moves to the new release');
  }
  if (process.entryDigest !== input.launchDigest) {
    // It may have jobs: nobody can ask it.
    if (!input.incarnation.known)
      return held('UNKNOWN', `runs with earlier settings, and cannot be seen: ${input.incarnation.reason}`, 'see `agent doctor`');
    if (input.rolling)
      return held(
        'ROLLING',
        'runs with earlier settings; another instance is being restarted first',
        'nothing to do: it follows by itself',
      );
    if (jobs !== null && jobs > 0)
      return held(
        'ROLLING',
        `runs with earlier settings until its ${jobs} job${jobs === 1 ? ' is' : 's are'} done`,
        `\`agent restart ${instance.gpu}\` restarts at once`,
      );
    return act('restart-instance', 'its settings or its release changed');
  }
  return NOTHING;
}

/** What does not serve and tells of no jobs has none; what serves is believed only once it takes no new ones. */
function jobsLeft(turn: RolloutTurn, jobs: number | null): number | null {
  if (!turn.up) return jobs ?? 0;
  return turn.looked || (jobs ?? 0) > 0 ? jobs : null;
}

const jobsIn = (queue: InstanceInput['queue']): number | null => (queue === null ? null : queue.running + queue.pending);

/** Without an incarnation PM2's own start time decides; a respawn that is under way counts as started. */
function startedBefore(input: InstanceInput, moment: number): boolean {
  const startedAt = input.process.known ? input.process.value?.startedAt : null;
  if (startedAt !== null && startedAt !== undefined) return startedAt < moment;
  const { incarnation } = input;
  return incarnation.known && incarnation.value !== null && Date.parse(incarnation.value.startedAt) < moment;
}
