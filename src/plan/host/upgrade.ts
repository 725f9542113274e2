import type { VersionDocument } from '../../domain/agent.ts';
import { AgentError } from '../../domain/errors/errors.ts';
import { type PendingUpgrade, previousOf } from '../../domain/host/upgrade.ts';

/** Starts without a proof before the old program comes back, when nobody watches. */
const MAX_STARTS = 3;
/** And the time it has: an agent that answers proves itself within a minute. */
const PROOF_LIMIT_MS = 180_000;

/**
 * Whether this program can take the place of that one on this machine.
 *
 * @returns what a person must know before it is done
 * @throws AgentError BINARY_INVALID, STATE_TOO_NEW
 */
export function judgeCandidate(
  present: VersionDocument,
  candidate: VersionDocument,
  state: { readonly minimum: number } | null,
): readonly string[] {
  if (!candidate.singleFile)
    throw new AgentError('BINARY_INVALID', 'that is a program which needs Node.js, not the single file', {
      help: 'name the file that `npm run build:binary` makes',
    });
  if (candidate.arch !== present.arch)
    throw new AgentError('BINARY_INVALID', `that is a program for ${candidate.arch}; this machine needs ${present.arch}`);
  if (state !== null && candidate.stateVersion < state.minimum)
    throw new AgentError(
      'STATE_TOO_NEW',
      `agent ${candidate.agent} reads state of version ${candidate.stateVersion}, and that of this machine needs ${state.minimum} at least`,
      { help: `name a program as new as ${present.agent}, or newer` },
    );
  const changes = [
    ...(candidate.pm2 === present.pm2 ? [] : [`PM2 ${present.pm2} -> ${candidate.pm2}`]),
    ...(candidate.node === present.node ? [] : [`Node ${present.node} -> ${candidate.node}`]),
  ];
  if (changes.length === 0) return [];
  return [
    `${changes.join(' and ')}: PM2's daemon hosts the instances and goes on with the old one; \`agent upgrade --pm2\` moves it, which lets all jobs finish and restarts every instance`,
  ];
}

/**
 * What is done before an agent starts whose program has not proved itself: nothing while somebody watches it or while it has
 * tries left, else back to the old one. One that has proved itself is forgotten: the agent cannot remove what root wrote. A command that was killed before it had replaced the program has left nothing to prove,
 * and what is kept beside it is of an earlier upgrade then.
 * @param facts.inPlace sha256 of the program; null: there is none, or somebody watches
 */
export function judgePending(
  pending: PendingUpgrade,
  facts: { readonly isWatched: boolean; readonly isProved: boolean; readonly inPlace: string | null; readonly now: number },
): 'start' | 'go-back' | 'forget' {
  if (facts.isWatched) return 'start';
  if (facts.isProved) return 'forget';
  if (facts.inPlace !== null && facts.inPlace !== pending.to.sha256) return 'forget';
  const isLate = facts.now - Date.parse(pending.startedAt) > PROOF_LIMIT_MS && pending.starts > 0;
  return pending.starts >= MAX_STARTS || isLate ? 'go-back' : 'start';
}

/**
 * The program that a guard minds: the one beside itself. systemd runs it from a fixed place, so that nothing which is read decides
 * what root replaces.
 * @param file this program
 * @throws AgentError UPGRADE_REFUSED
 */
export function guardedBy(file: string): string {
  const suffix = previousOf('');
  if (file.endsWith(`/agent${suffix}`)) return file.slice(0, -suffix.length);
  throw new AgentError('UPGRADE_REFUSED', `${file} is not the program that an upgrade has kept, so it guards nothing`);
}

/** @throws AgentError UPGRADE_REFUSED when the record is about another program than the guarded one */
export function requireAbout(pending: PendingUpgrade, target: string): void {
  if (pending.target !== target)
    throw new AgentError('UPGRADE_REFUSED', `the record of an upgrade names ${pending.target}, and this guard minds ${target}`);
}

/** Which instances have the process that they had. */
export function compareInstances(
  before: readonly { readonly name: string; readonly pid: number | null }[],
  after: readonly { readonly name: string; readonly pid: number | null }[],
): { readonly kept: readonly string[]; readonly restarted: readonly string[] } {
  const pids = new Map(after.map(({ name, pid }) => [name, pid]));
  const ran = before.filter(({ pid }) => pid !== null);
  return {
    kept: ran.filter(({ name, pid }) => pids.get(name) === pid).map(({ name }) => name),
    restarted: ran.filter(({ name, pid }) => pids.get(name) !== pid).map(({ name }) => name),
  };
}
