import type { Action } from '../../domain/action.ts';
import type { Config } from '../../domain/configuration/config.ts';
import type { Verdict } from '../../domain/faults/verdict.ts';
import { instanceTarget } from '../../domain/identity.ts';
import type { DesiredInstance } from '../../domain/instances/instance.ts';
import { toTime } from '../../domain/observed.ts';
import { hold, type NewHold } from '../hold.ts';
import { dueSince } from './leaving.ts';
import type { RestartVerdict } from './restart-policy.ts';

/** A quarantine soon after the one before counts on, and lasts twice as long. */
const RELAPSE_COOL_DOWNS = 6;

type Quarantine = NonNullable<DesiredInstance['quarantine']>;
type Settings = Config['health']['quarantine'];

export interface QuarantineInput {
  readonly instance: DesiredInstance;
  readonly settings: Settings;
  readonly present: boolean;
  /** It has a release, a port, and no stranger in its way. */
  readonly canStart: boolean;
  /** Since its trial start, because that begins a new count. */
  readonly restarts: RestartVerdict;
  readonly verdicts: readonly Verdict[];
  /** What its runtime and functional layers say: passed, failed with a reason, or not known yet. */
  readonly proof: { readonly passed: boolean; readonly failure: string | null };
  readonly now: number;
}

interface QuarantineStep {
  readonly action: Action | null;
  readonly hold: NewHold | null;
}

/** When an instance is tried again; null: only by hand. Epoch ms. */
export function trialDueAt(quarantine: Quarantine | null, { coolDownMs, maxCoolDownMs }: Settings): number | null {
  if (quarantine === null || coolDownMs === null) return null;
  return quarantine.at + Math.min(maxCoolDownMs, coolDownMs * 2 ** (quarantine.count - 1));
}

/** What is written down when an instance is put in quarantine. */
export function nextQuarantine(
  before: Quarantine | null,
  fault: Quarantine['fault'],
  { coolDownMs, maxCoolDownMs }: Settings,
  now: number,
): Quarantine {
  const relapseMs = Math.min(maxCoolDownMs, (coolDownMs ?? 0) * RELAPSE_COOL_DOWNS);
  const isRelapse = before !== null && (before.releasedAt === null || now - before.releasedAt < relapseMs);
  return { fault, at: now, count: isRelapse ? before.count + 1 : 1, trialAt: null, releasedAt: null };
}

/** Stopped for a cool-down, then tried: a canary that passes sets it free, anything else sends it back for twice as long. */
export function planQuarantine(input: QuarantineInput): QuarantineStep {
  const { instance, present, verdicts, now } = input;
  const { gpu, name, quarantine, quarantined } = instance;
  const reason = quarantined ?? 'quarantined';
  const byHand = `find the cause with \`agent logs ${gpu}\`, then \`agent unquarantine ${gpu}\``;
  const held = (text: string): QuarantineStep => ({ action: null, hold: hold(instanceTarget(gpu), 'QUARANTINED', text, byHand) });
  const act = (action: Action): QuarantineStep => ({ action, hold: null });
  const isWanted = instance.desired === 'running' && !instance.draining;

  if (quarantine === null || quarantine.trialAt === null || !isWanted) {
    if (present) return act({ kind: 'stop-instance', gpu, name, reason: `quarantined: ${reason}`, fault: null });
    const dueAt = trialDueAt(quarantine, input.settings);
    if (dueAt === null || !isWanted) return held(reason);
    const cause = verdicts.find((verdict) => verdict.remedy === 'quarantine');
    if (cause !== undefined) return held(`${reason}; it stays so while ${cause.reason}`);
    if (now < dueAt) return held(`${reason}; it is tried again at ${toTime(dueAt)}`);
    if (!input.canStart) return held(`${reason}; it is tried again once it can be started`);
    return act({ kind: 'trial-start', gpu, name, reason: `its cool-down is over (${reason})` });
  }
  const failure = failureOf(input);
  if (failure !== null)
    return act({ kind: 'quarantine-instance', gpu, name, reason: `its trial start failed: ${failure}`, fault: quarantine.fault });
  if (!present) return act({ kind: 'trial-start', gpu, name, reason: 'its trial start was cut' });
  if (input.proof.passed) return act({ kind: 'release-instance', gpu, name, reason: 'its canary passed after the cool-down' });
  return held(`${reason}; it is being tried: a canary that passes sets it free`);
}

function failureOf({ restarts, verdicts, proof, now }: QuarantineInput): string | null {
  if (restarts.inWindow > 0) return restarts.lastReason ?? 'it ended';
  const fault = verdicts.find(({ remedy }) => remedy === 'restart' || remedy === 'quarantine');
  if (fault !== undefined && dueSince(fault, now) !== null) return fault.reason;
  return proof.failure;
}
