import type { Action } from '../../domain/action.ts';
import type { Config } from '../../domain/configuration/config.ts';
import type { AgentError } from '../../domain/errors/errors.ts';
import type { Verdict } from '../../domain/faults/verdict.ts';
import type { HoldCode } from '../../domain/hold.ts';
import { instanceTarget } from '../../domain/identity.ts';
import type { DesiredInstance, Incarnation, ProcessState } from '../../domain/instances/instance.ts';
import { type Observed, toTime } from '../../domain/observed.ts';
import { hold, type NewHold } from '../hold.ts';
import { dueSince, isPresent, jobsLeft, type Leaving, mayGo } from './leaving.ts';
import { planQuarantine } from './quarantine.ts';
import { planRemedy } from './remedy.ts';
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
  /** null: it is not about to leave. */
  readonly leaving: Leaving | null;
  readonly restarts: RestartVerdict;
  /** Faults as judged now, the worst first. */
  readonly verdicts: readonly Verdict[];
  /** `since` of the verdict whose memory was freed last. */
  readonly freedFor: string | null;
  /** Its part in a rollout: null when it has none (any more); `wait` until it is its turn. */
  readonly move: 'wait' | 'turn' | null;
  /** Why it could not be started with what it should run by now; null: nobody says so. */
  readonly launchProblem: Pick<AgentError, 'code' | 'message' | 'help'> | null;
  /** Stranger on the card or on the port. */
  readonly blocked: NewHold | null;
  /** What its runtime and functional layers say: passed, failed with a reason, or not known yet. */
  readonly proof: { readonly passed: boolean; readonly failure: string | null };
  readonly quarantine: Config['health']['quarantine'];
  readonly now: number;
}

export interface InstanceStep {
  readonly action: Action | null;
  readonly hold: NewHold | null;
}

const NOTHING: InstanceStep = { action: null, hold: null };

/** The next step of one instance, read from top to bottom; at most one action. */
export function planInstance(input: InstanceInput): InstanceStep {
  const { instance, process: seen, leaving } = input;
  const target = instanceTarget(instance.gpu);
  const held = (code: HoldCode, reason: string, help: string): InstanceStep => ({ action: null, hold: hold(target, code, reason, help) });
  const { gpu, name } = instance;
  const act = (kind: 'start-instance' | 'stop-instance' | 'restart-instance', reason: string): InstanceStep => ({
    action: kind === 'start-instance' ? { kind, gpu, name, reason } : { kind, gpu, name, reason, fault: null },
    hold: null,
  });

  // Never a second process because the first could not be seen.
  if (!seen.known)
    return held('UNKNOWN', `its process could not be seen: ${seen.reason}`, 'see `agent doctor`; nothing is started or stopped meanwhile');
  const process = seen.value;
  const present = process !== null && isPresent(process);

  if (instance.quarantined !== null)
    return planQuarantine({
      ...input,
      settings: input.quarantine,
      present,
      canStart: input.launchDigest !== null && input.blocked === null,
    });
  if (instance.desired === 'stopped' || instance.draining) {
    if (!present) return NOTHING;
    // It would be ended now if it were to stay; whoever waits for it to leave need not wait longer.
    const lost = input.verdicts.find((verdict) => verdict.remedy === 'restart' && dueSince(verdict, input.now) !== null);
    if (instance.draining && lost !== undefined)
      return { action: { kind: 'stop-instance', gpu, name, reason: lost.reason, fault: lost.fault }, hold: null };
    if (leaving !== null && !mayGo(leaving, input.now)) {
      const left = jobsLeft(leaving);
      return held(
        'DRAINING',
        left === null ? 'draining; its queue was not read since' : `draining: ${left} left`,
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

  if (leaving?.why === 'restart' && mayGo(leaving, input.now)) return act('restart-instance', 'restart was asked for');
  const remedy = planRemedy(input);
  // What would be ended now anyhow is not waited for.
  if (leaving?.why === 'restart' && (remedy === null || remedy.action?.kind === 'free-memory' || remedy.hold !== null)) {
    const left = jobsLeft(leaving);
    return held(
      'DRAINING',
      left === null ? 'restart waits until its queue was read' : `restart waits for ${left}`,
      `\`agent restart ${instance.gpu}\` without --drain restarts at once`,
    );
  }
  if (remedy !== null) return remedy;
  if (process.entryDigest === input.launchDigest) return NOTHING;
  if (input.move === 'wait') return held('ROLLING', 'runs the earlier release until it is its turn', 'nothing to do: it follows by itself');
  if (input.launchProblem !== null) {
    const { code, message, help } = input.launchProblem;
    return held(code, `runs with earlier settings, and could not be started with the new ones: ${message}`, help);
  }
  // It may have jobs: nobody can ask it.
  if (!input.incarnation.known)
    return held('UNKNOWN', `runs with earlier settings, and cannot be seen: ${input.incarnation.reason}`, 'see `agent doctor`');
  if (leaving === null)
    return held('ROLLING', 'runs with earlier settings; another instance is being restarted first', 'nothing to do: it follows by itself');
  if (mayGo(leaving, input.now))
    return act('restart-instance', input.move === 'turn' ? 'it moves to the new release' : 'its settings or its release changed');
  const left = jobsLeft(leaving);
  return input.move === 'turn'
    ? held(
        'DRAINING',
        `moves to the new release ${left === null ? 'once its queue was read' : `after ${left}`}`,
        `\`agent restart ${instance.gpu}\` moves it at once`,
      )
    : held(
        'DRAINING',
        `runs with earlier settings until ${left === null ? 'its queue was read' : `${left} ended`}`,
        `\`agent restart ${instance.gpu}\` restarts at once`,
      );
}
