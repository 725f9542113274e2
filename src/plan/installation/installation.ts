import type { Action } from '../../domain/action.ts';
import type { Config } from '../../domain/configuration/config.ts';
import type { ErrorCode } from '../../domain/errors/registry.ts';
import type { PackSpec, Release } from '../../domain/installation/release.ts';
import type { DesiredState, InstallationIntent, Intents, ObservedState } from '../../domain/state/state.ts';
import { hold, type NewHold } from '../hold.ts';
import { packChanges } from '../inputs/packs/changes.ts';

/** The last attempt that failed, so that it is not repeated without end. */
export interface FailedInstallation {
  readonly specDigest: string;
  readonly at: number;
  readonly attempts: number;
  readonly code: ErrorCode;
  readonly message: string;
  readonly help: string;
  readonly retryable: boolean;
}

const FIRST_RETRY_MS = 15_000;
const LONGEST_RETRY_MS = 900_000;

/** Wait before attempt n+1: doubles from 15 s to 15 min. */
export const retryDelayMs = (attempts: number): number => Math.min(LONGEST_RETRY_MS, FIRST_RETRY_MS * 2 ** Math.max(0, attempts - 1));

export interface InstallationInput {
  readonly config: Config;
  readonly desired: DesiredState;
  readonly observed: ObservedState;
  readonly intents: Intents;
  readonly failedInstallation: FailedInstallation | null;
  /** What config_nodes.json asks for, and whose file it is. */
  /** null: it was not read yet, so that nobody knows what is wanted. */
  readonly packList: { readonly file: string; readonly owner: string | null; readonly packs: readonly PackSpec[] } | null;
  /** config_nodes.json is bad: nothing is built from it, not even from what it said before. */
  readonly inputProblem: { readonly code: ErrorCode; readonly message: string; readonly help: string } | null;
  readonly now: number;
}

/** What an operator asked for and is still to be done: an agent that ended before it could say so may have left the wish behind. */
export function installationWish(intents: Intents, observed: Pick<ObservedState, 'release'>): InstallationIntent | null {
  const { installation: wish } = intents;
  const release = observed.release.known ? observed.release.value : null;
  return wish === null || (release !== null && Date.parse(release.createdAt) >= wish.requestedAt) ? null : wish;
}

/** `agent install` tries failed node packs again; by itself the loop does not. */
export function failedPacks(release: Release | null): string | null {
  const failed = (release?.packs ?? []).filter((pack) => pack.state === 'failed' && !pack.quarantined).map((pack) => pack.name);
  return failed.length === 0 ? null : `these node packs failed last time and are tried again: ${failed.join(', ')}`;
}

/** Whether the release in place is what is asked for; the same answer serves `agent install` ("nothing to do"). */
export function installationNeed(input: Pick<InstallationInput, 'desired' | 'observed' | 'intents'>): string | null {
  const { desired, observed, intents } = input;
  if (!observed.release.known) return null;
  const release = observed.release.value;
  if (release === null) return 'no release is installed';
  if (observed.releaseProblem !== null) return observed.releaseProblem;
  if (release.specDigest !== desired.specDigest) return 'the configuration asks for another installation than the release in place';
  if (desired.lockDigest !== null && release.lockDigest !== null && desired.lockDigest !== release.lockDigest)
    return 'agent.lock.json names other versions than the release in place';
  const wish = installationWish(intents, observed);
  if (wish === null) return null;
  if (wish.moves !== null) return 'an update was asked for';
  return wish.fresh ? 'a new release was asked for' : failedPacks(release);
}

/** The machine went back to an earlier release, and stays there until somebody moves on. */
function pinnedHold({ desired, observed, intents }: InstallationInput): NewHold | null {
  const { pinnedRelease: pin } = intents;
  const release = observed.release.known ? observed.release.value : null;
  const applies =
    pin !== null &&
    pin.release === release?.id &&
    observed.releaseProblem === null &&
    (pin.specDigest === null || pin.specDigest === desired.specDigest) &&
    installationWish(intents, observed) === null;
  if (!applies) return null;
  const help =
    installationNeed({ desired, observed, intents }) === null
      ? '`agent update` moves on to newer versions; `agent install` accepts it as it is'
      : '`agent install` moves on';
  return hold('installation', 'ROLLED_BACK', `${pin.reason}; release ${pin.release} stays`, help);
}

/** Told before it is obeyed: what the list of packs changes, and whose it is. */
function listWords({ packList, observed }: InstallationInput): string {
  if (packList === null) return '';
  const { file, owner, packs } = packList;
  const release = observed.release.known ? observed.release.value : null;
  const changes = release === null ? null : packChanges(release.spec.packs, packs);
  return changes === null ? '' : ` (${file}${owner === null ? '' : `, of ${owner},`} ${changes})`;
}

/** At most one install action; an installation in place is never replaced without being asked. */
export function planInstallation(input: InstallationInput): { actions: Action[]; holds: NewHold[] } {
  const { config, desired, observed, failedInstallation: failed, now } = input;
  const none = { actions: [], holds: [] };
  if (observed.busy.has('installation') || input.intents.rollout !== null || input.packList === null) return none;
  if (!observed.release.known) {
    return {
      actions: [],
      holds: [hold('installation', 'UNKNOWN', `the installation could not be read: ${observed.release.reason}`, 'see the agent log')],
    };
  }
  const need = installationNeed(input);
  const pinned = pinnedHold(input);
  if (pinned !== null) return { actions: [], holds: [pinned] };
  if (need === null) return none;
  if (input.inputProblem !== null) {
    const { code, message, help } = input.inputProblem;
    return { actions: [], holds: [hold('installation', code, message, help)] };
  }
  const inPlace = observed.release.value !== null && observed.releaseProblem === null;
  if (inPlace && config.install.onChange === 'hold' && installationWish(input.intents, observed) === null) {
    return {
      actions: [],
      holds: [
        hold(
          'installation',
          'INSTALLATION_DIFFERS',
          need + listWords(input),
          'run `agent install` to build the new release; the present one serves until then',
        ),
      ],
    };
  }
  if (failed !== null && failed.specDigest === desired.specDigest) {
    const waitMs = failed.at + retryDelayMs(failed.attempts) - now;
    if (!failed.retryable || waitMs > 0) {
      const next = failed.retryable
        ? `tried again in ${Math.ceil(waitMs / 1_000)} s`
        : 'not tried again until the configuration changes or `agent install` is run';
      return { actions: [], holds: [hold('installation', failed.code, `${failed.message} (${next})`, failed.help)] };
    }
  }
  return { actions: [{ kind: 'install', reason: need, specDigest: desired.specDigest }], holds: [] };
}
