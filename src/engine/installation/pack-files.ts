import type { PackStatus } from '../../domain/release.ts';
import type { Ports } from '../../ports.ts';

/** Paths in a pack's folder that its source did not bring, whichever source that was. */
export const untrackedPaths = async ({ sources, git }: Pick<Ports, 'sources' | 'git'>, directory: string): Promise<readonly string[]> =>
  (await sources.untracked(directory)) ?? git.untracked(directory);

/** Files of its source that are not as it brought them. */
export async function alteredFiles(
  { sources, git, files }: Pick<Ports, 'sources' | 'git' | 'files'>,
  directory: string,
): Promise<PackStatus['altered']> {
  const changed = (await sources.changed(directory)) ?? (await git.inspect(directory))?.changed ?? [];
  return Promise.all(changed.map(async (path) => ({ path, sha256: await digestOrNull(files, `${directory}/${path}`) })));
}

/** What was altered by hand since: everything but what is still as the installation left it. */
export async function alteredSince(
  { files }: Pick<Ports, 'files'>,
  directory: string,
  changed: readonly string[],
  { altered }: Pick<PackStatus, 'altered'>,
): Promise<readonly string[]> {
  const left = new Map(altered.map(({ path, sha256 }) => [path, sha256]));
  const differs = await Promise.all(
    changed.map(async (path) => !left.has(path) || (await digestOrNull(files, `${directory}/${path}`)) !== left.get(path)),
  );
  return changed.filter((_, index) => differs[index]);
}

const digestOrNull = async (files: Ports['files'], path: string): Promise<string | null> =>
  (await files.exists(path)) && !(await files.isDirectory(path)) ? files.digest(path) : null;
