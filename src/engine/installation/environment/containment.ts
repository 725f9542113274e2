import { isAgentError } from '../../../domain/errors/errors.ts';
import { type LockedPackage, requirementLine } from '../../../domain/installation/lock.ts';
import { adoptionWords, contain, environmentChanges, type InstalledPackages } from '../../../plan/installation/environment-changes.ts';
import type { InstallContext } from '../context.ts';
import { movable, placed, RELEASE } from '../packs/paths.ts';
import type { BuiltEnvironment } from './environment.ts';
import { calls } from './python-calls.ts';
import type { Resolution } from './resolution.ts';

export interface ContainedChanges {
  /** New packages that stay, for the lock. */
  readonly adopted: readonly LockedPackage[];
  /** What happened and what became of it, a sentence each; empty: nothing changed. */
  readonly words: readonly string[];
}

/**
 * Compares the environment with what it was before something ran, puts locked packages back as they are locked, and
 * takes out what a constraint forbids. Used around each script of a pack, and around a trial start.
 * @param attribution `by` begins the words ("install.py"), `addedBy` is noted on what stays
 * @throws AgentError ENVIRONMENT_FAILED when the environment cannot be put right
 */
export async function containChanges(
  context: InstallContext,
  { python, resolution }: Pick<BuiltEnvironment, 'python' | 'resolution'>,
  before: InstalledPackages,
  { by, addedBy }: { readonly by: string; readonly addedBy: string },
): Promise<ContainedChanges> {
  const { ports, signal } = context;
  const changes = environmentChanges(before, await ports.python.packages(python));
  const { adopt, restore, remove, words } = contain(changes, resolution.packages, resolution.constraints, by);
  if (remove.length > 0) await ports.python.remove(python, remove, { signal });
  if (restore.length > 0)
    await ports.python.install({
      ...calls(context, python, resolution.torchBackend),
      constraints: resolution.constraints,
      pins: restore.map((locked) => placed(context, locked)),
    });
  const added = adopt.length === 0 ? [] : await locatedPackages(context, { python, resolution }, adopt);
  const adopted = added.flatMap(({ locked, isKnown }) => (isKnown ? [movable(context, { ...locked, addedBy })] : []));
  return {
    adopted,
    words: [...words, ...adoptionWords(changes, { by, adopted: new Set(adopted.map(({ name }) => name)), removed: remove })],
  };
}

/**
 * Digests of what a script took from an index, as the configured indexes have them. What they do not have stays
 * installed but out of the lock: who obeys the lock could not get it, and runs the script too.
 */
async function locatedPackages(
  context: InstallContext,
  { python, resolution }: Pick<BuiltEnvironment, 'python' | 'resolution'>,
  names: readonly string[],
): Promise<{ locked: LockedPackage; isKnown: boolean }[]> {
  const { ports, directory } = context;
  const origins = (await Promise.all(names.map((name) => ports.python.origin(python, name)))).filter((origin) => origin !== null);
  const resolve = async (lines: readonly string[]): Promise<readonly LockedPackage[]> => {
    const file = `${directory}/added-requirements.txt`;
    await ports.files.writeText(file, `${lines.join('\n')}\n`);
    return ports.python.resolve({
      ...calls(context, python, resolution.torchBackend),
      requirements: [{ label: 'added packages', file, within: directory }],
      constraints: resolution.constraints,
      // What they depend on does not matter here, and is there.
      overrides: context.spec.python.overrides,
      preferences: resolution.packages,
    });
  };
  const fromIndex = origins.filter(({ url }) => url === null).map(requirementLine);
  const found = new Map<string, LockedPackage>();
  const look = async (lines: readonly string[]): Promise<void> => {
    if (lines.length === 0) return;
    try {
      for (const locked of await resolve(lines)) found.set(requirementLine(locked), locked);
    } catch (error) {
      if (!isAgentError(error) || (error.code !== 'REQUIREMENTS_UNRESOLVED' && error.code !== 'ENVIRONMENT_FAILED')) throw error;
      // One that is not there must not hide the others.
      if (error.code === 'REQUIREMENTS_UNRESOLVED' && lines.length > 1) for (const line of lines) await look([line]);
    }
  };
  await look(fromIndex);
  return origins.map((locked) => {
    const known = found.get(requirementLine(locked));
    return {
      locked: { ...locked, hashes: known?.hashes ?? locked.hashes },
      isKnown: known !== undefined || isPortable(movable(context, locked)),
    };
  });
}

/** Whether another machine finds it there: a file of this one is none, but what lies in the release is. */
const isPortable = ({ url }: LockedPackage): boolean => url !== null && (!url.includes('file:') || url.startsWith(RELEASE));

/** The resolution with packages that were adopted since. */
export const withPackages = (resolution: Resolution, adopted: readonly LockedPackage[]): Resolution =>
  adopted.length === 0
    ? resolution
    : { ...resolution, packages: [...new Map([...resolution.packages, ...adopted].map((locked) => [locked.name, locked])).values()] };
