import type { LockedPackage } from '../../domain/lock.ts';
import { contain, environmentChanges, type InstalledPackages } from '../../plan/environment-changes.ts';
import type { InstallContext } from './context.ts';
import type { BuiltEnvironment } from './environment.ts';
import { movable, placed } from './pack-paths.ts';
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
  const adopted: LockedPackage[] = [];
  for (const name of adopt) {
    const origin = await ports.python.origin(python, name);
    if (origin !== null) adopted.push(movable(context, { ...origin, addedBy }));
  }
  return { adopted, words };
}

/** The resolution with packages that were adopted since. */
export const withPackages = (resolution: Resolution, adopted: readonly LockedPackage[]): Resolution =>
  adopted.length === 0
    ? resolution
    : { ...resolution, packages: [...new Map([...resolution.packages, ...adopted].map((locked) => [locked.name, locked])).values()] };
