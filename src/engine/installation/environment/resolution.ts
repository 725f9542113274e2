import { AgentError, isAgentError } from '../../../domain/errors/errors.ts';
import type { Lock, LockedPackage } from '../../../domain/installation/lock.ts';
import { askedIn, conflictTable, type RequirementConflict } from '../../../domain/installation/requirement-conflict.ts';
import { conflictsOf, conflictWords, type FixedLine } from '../../../plan/installation/conflicts.ts';
import { movesNothing } from '../../../plan/installation/lock.ts';
import { nextTrial, type RejectedPack, type Trial } from '../../../plan/installation/requirements.ts';
import type { PythonEnvironments, ResolveRequest } from '../../../ports/python.ts';
import type { InstallContext } from '../context.ts';
import { CORE, type RequirementFile } from './requirement-files.ts';

/** What a Python environment is made of: found by `resolveEnvironment`, or read from a lock. */
export interface Resolution {
  readonly packages: readonly LockedPackage[];
  /** Lines that packs may not move, as given to pip and uv. */
  readonly constraints: readonly string[];
  /** uv's --torch-backend: where torch comes from. */
  readonly torchBackend: string | null;
  /** Packs left out because their requirements do not fit. */
  readonly quarantined: readonly { readonly name: string; readonly reason: string }[];
  /** Of what it is the answer to, see `questionDigest`; null: it can be the answer to nothing else. */
  readonly questionDigest: string | null;
}

/** What a lock has, as a resolution. */
export const resolutionOf = (
  { packages, constraints, torchBackend, questionDigest }: Lock['python'],
  quarantined: ReadonlyMap<string, string>,
): Resolution => ({
  packages,
  constraints,
  torchBackend,
  quarantined: [...quarantined].map(([name, reason]) => ({ name, reason })),
  questionDigest: questionDigest ?? null,
});

export interface PackQuestion {
  readonly core: readonly RequirementFile[];
  readonly packs: readonly RequirementFile[];
  /** What ComfyUI alone needs: the answer when no pack fits. */
  readonly corePins: readonly LockedPackage[];
  readonly fixed: readonly FixedLine[];
}

/**
 * Resolves ComfyUI and as many packs as fit. What does not is explained in one table; by `install.onConflict` those
 * packs are left out, or nothing is installed.
 * @throws AgentError REQUIREMENTS_UNRESOLVED with `conflicts`, when the configuration says to fail
 */
export async function resolveWithPacks(
  context: InstallContext,
  resolve: PythonEnvironments['resolve'],
  { core, packs, corePins, fixed }: PackQuestion,
  request: Omit<ResolveRequest, 'requirements'>,
): Promise<Pick<Resolution, 'packages' | 'quarantined'>> {
  const { tracker, config } = context;
  const labels = packs.map((pack) => pack.label);
  const trials: Trial[] = [];
  // What the last success gave is what all accepted packs need: each success adds to the one before.
  let packages = corePins;
  let next = nextTrial(labels, trials);
  for (; !next.done; next = nextTrial(labels, trials)) {
    const tried = next.labels;
    tracker.detail(`resolving the requirements of ComfyUI and ${tried.length} node packs`);
    try {
      packages = await resolve({ ...request, requirements: [...core, ...packs.filter((pack) => tried.includes(pack.label))] });
      trials.push({ labels: tried, failure: null });
    } catch (error) {
      if (!isAgentError(error) || error.code !== 'REQUIREMENTS_UNRESOLVED') throw error;
      trials.push({ labels: tried, failure: { labels: namedPacks(error), reason: error.message, asked: askedIn(error.details) } });
    }
  }
  const rejected = next.rejected.map((pack) => ({ ...pack, conflicts: conflictsOf(pack.label, pack, fixed) }));
  if (rejected.length === 0) return { packages, quarantined: [] };
  const conflicts = rejected.flatMap((pack) => pack.conflicts);
  for (const line of conflictTable(conflicts)) tracker.log(line);
  if (config.install.onConflict === 'fail') throw refused(rejected, conflicts);
  return { packages, quarantined: rejected.map(quarantine) };
}

/**
 * Resolving, for one installation. What indexes said minutes ago is good enough for what resolves; what does not is asked
 * once more of indexes as they are now, and so is everything when the newest is wanted.
 */
export async function resolverOf({ ports, moves }: InstallContext): Promise<PythonEnvironments['resolve']> {
  const { python } = ports;
  let isFresh = !movesNothing(moves);
  if (isFresh) await python.forgetIndexes();
  return async (request) => {
    try {
      return await python.resolve(request);
    } catch (error) {
      if (isFresh || !isAgentError(error) || error.code !== 'REQUIREMENTS_UNRESOLVED') throw error;
      isFresh = true;
      await python.forgetIndexes();
      return python.resolve(request);
    }
  };
}

/** The same table for what does not even fit without packs. */
export function explained(error: unknown, fixed: readonly FixedLine[]): unknown {
  if (!isAgentError(error) || error.code !== 'REQUIREMENTS_UNRESOLVED') return error;
  const labels = namedPacks(error);
  const reason = { reason: error.message, asked: askedIn(error.details) };
  const conflicts = (labels.length === 0 ? [CORE] : labels).flatMap((label) => conflictsOf(label, reason, fixed));
  const { help, retryable, details } = error;
  return new AgentError(error.code, error.message, { help, retryable, details: { ...details, conflicts }, cause: error });
}

const quarantine = ({ label, reason, conflicts }: RejectedPack & { readonly conflicts: readonly RequirementConflict[] }) => {
  const words = conflictWords(conflicts);
  return {
    name: label,
    reason: `its requirements do not fit: ${reason}${words === '' ? '' : ` [${words}]`}; override or constrain them with python.overrides`,
  };
};

function refused(rejected: readonly RejectedPack[], conflicts: readonly RequirementConflict[]): AgentError {
  const told = rejected.map(({ label, reason }) => `${label}: ${reason}`).join('; ');
  return new AgentError(
    'REQUIREMENTS_UNRESOLVED',
    `the requirements of ${rejected.length === 1 ? 'a node pack' : `${rejected.length} node packs`} do not fit (${told})`,
    {
      details: { conflicts },
      help: 'override one of the lines with python.overrides, or leave these packs out: install.onConflict quarantine',
    },
  );
}

function namedPacks(error: AgentError): readonly string[] {
  const { labels } = error.details;
  return Array.isArray(labels) ? labels.filter((label) => typeof label === 'string') : [];
}
