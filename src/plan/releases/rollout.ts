import type { Rollout } from '../../domain/state/state.ts';
import type { Exit } from '../instances/restart-policy.ts';

/** Ends by itself on the new release before it is called broken: one may be chance, PM2 starts it again. */
const ENDS_ALLOWED = 3;
/** A canary that fails is run again every 15 s: this is its third failure. */
const BROKEN_ALLOWED_MS = 40_000;

/** What was seen of an instance since it runs from the release it was moved to. */
export interface Watch {
  readonly since: number;
  /** When its log or one of its layers last moved. */
  readonly progressAt: number;
  readonly mark: string;
  /** Since when it answers and cannot do its work. */
  readonly brokenSince: number | null;
  readonly ends: number;
  readonly lastEnd: string | null;
}

/** One instance as a rollout sees it. */
export interface RolloutMember {
  readonly gpu: number;
  /** Neither stopped nor draining by an operator's wish. */
  readonly wanted: boolean;
  readonly quarantined: string | null;
  /** Release of its PM2 entry; null: there is no entry. */
  readonly release: string | null;
  /** Serves: its layers pass, and they are of the process that runs now. */
  readonly up: boolean;
  /** Why it is not up. */
  readonly reason: string | null;
  /** Null until it was seen on the release it is moved to. */
  readonly watch: Watch | null;
}

export interface RolloutInput {
  readonly rollout: Rollout;
  /** What `current` names. */
  readonly current: string | null;
  readonly members: readonly RolloutMember[];
  /** A start whose log and layers stand still for this long has failed. */
  readonly noProgressMs: number;
  readonly now: number;
}

export interface RolloutStep {
  /** switch: `current` does not name the release yet; failed: it has to go back. */
  readonly verdict: 'switch' | 'moving' | 'done' | 'failed';
  /** Of a failure; with `done`, which instances did not become ready all the same (a rollout back is never turned around). */
  readonly reason: string | null;
  /** Instances whose turn it is. */
  readonly next: readonly number[];
  readonly moved: number;
  readonly total: number;
  /** For people: "1 of 4 instances moved, waiting for gpu 1". */
  readonly message: string;
}

/** The next step of moving instances to another release, one GPU after the other: pure, so that a new agent decides the same. */
export function planRollout({ rollout, current, members, noProgressMs, now }: RolloutInput): RolloutStep {
  const isMoved = (member: RolloutMember) => member.release === rollout.to || member.release === null;
  const wanted = members.filter((member) => member.wanted && (member.quarantined === null || member.release === rollout.to));
  const unmoved = wanted.filter((member) => !isMoved(member));
  const judged = wanted.filter((member) => isMoved(member) && !member.up && rollout.serving.includes(member.gpu));
  const failures = new Map(judged.flatMap((member) => failureOf(member, noProgressMs, now) ?? []));
  const pending = judged.filter((member) => !failures.has(member.gpu));
  const [failure = null] = failures.values();
  const moved = wanted.length - unmoved.length - pending.length;
  const step = (verdict: RolloutStep['verdict'], next: readonly number[], what: string): RolloutStep => ({
    verdict,
    reason: verdict === 'failed' || verdict === 'done' ? failure : null,
    next,
    moved,
    total: wanted.length,
    message: `${moved} of ${wanted.length} instance${wanted.length === 1 ? '' : 's'} moved${what}`,
  });

  if (current !== rollout.to) return step('switch', [], '');
  if (failure !== null && rollout.direction === 'forward') return step('failed', [], `; ${failure}`);
  if (unmoved.length === 0 && pending.length === 0) return step('done', [], '');
  const next = turnOf(unmoved, pending, rollout.atOnce);
  const [first] = pending;
  const waitsFor =
    first !== undefined ? `, waiting for gpu ${first.gpu}` : `, gpu ${next.join(', ')} ${next.length === 1 ? 'is' : 'are'} next`;
  return step('moving', next, waitsFor);
}

/** Those that do not serve have nothing to lose and go first; those that serve go one by one, each after the one before is up. */
function turnOf(unmoved: readonly RolloutMember[], pending: readonly RolloutMember[], atOnce: boolean): readonly number[] {
  const gpus = unmoved.map((member) => member.gpu).sort((a, b) => a - b);
  if (atOnce) return gpus;
  if (pending.length > 0) return [];
  const down = unmoved.filter((member) => !member.up).map((member) => member.gpu);
  return down.length > 0 ? down.sort((a, b) => a - b) : gpus.slice(0, 1);
}

/** Why an instance will not become ready any more; null: it may still. Judged by progress, not by the clock. */
function failureOf({ gpu, quarantined, watch, reason }: RolloutMember, noProgressMs: number, now: number): [number, string][] | null {
  const failed = (what: string): [number, string][] => [[gpu, `gpu ${gpu} ${what}`]];
  if (quarantined !== null) return failed(`was quarantined: ${quarantined}`);
  if (watch === null) return null;
  if (watch.ends > ENDS_ALLOWED) return failed(`ended ${watch.ends} times on it, last: ${watch.lastEnd ?? 'cause unknown'}`);
  if (watch.brokenSince !== null && now - watch.brokenSince >= BROKEN_ALLOWED_MS)
    return failed(`serves and does not work: ${reason ?? 'no reason was given'}`);
  const still = now - watch.progressAt;
  return still < noProgressMs
    ? null
    : failed(`did not become ready, and nothing has moved for ${Math.round(still / 1_000)} s: ${reason ?? 'no reason was given'}`);
}

/** Adds one look to what is known of a moved instance. A new process alone is no progress: a crash loop has many. */
export function watchMember(
  before: Watch | null,
  seen: { readonly mark: string; readonly broken: boolean; readonly exits: readonly Exit[] },
  now: number,
): Watch {
  const since = before?.since ?? now;
  const ends = seen.exits.filter((exit) => !exit.wanted && exit.at >= since);
  return {
    since,
    progressAt: before === null || before.mark !== seen.mark ? now : before.progressAt,
    mark: seen.mark,
    brokenSince: seen.broken ? (before?.brokenSince ?? now) : null,
    ends: ends.length,
    lastEnd: ends.at(-1)?.reason ?? null,
  };
}
