import { isAgentError } from '../../../domain/errors/errors.ts';
import type { PackStatus } from '../../../domain/installation/release.ts';
import { isInnerPath } from '../../../plan/text/inner-path.ts';
import type { Ports } from '../../../ports.ts';

/** Far beyond what the source of a pack brings; a file full of holes says more than any disk has. */
const MOST_BYTES = 8 * 1024 ** 3;

/** Paths in a pack's folder that its source did not bring; null: what it brought is not noted any more. */
export const untrackedPaths = async ({ sources }: Pick<Ports, 'sources'>, directory: string): Promise<readonly string[] | null> =>
  // Names of packs: whatever they are, they stay inside.
  (await sources.untracked(directory))?.filter((path) => isInnerPath(path.replace(/\/$/, ''))) ?? null;

/** Files of its source that are not as it brought them. */
export async function alteredFiles(
  { sources, files }: Pick<Ports, 'sources' | 'files'>,
  directory: string,
): Promise<PackStatus['altered']> {
  const changed = ((await sources.changed(directory)) ?? []).filter(isInnerPath);
  return Promise.all(changed.map(async (path) => ({ path, sha256: await digestOrNull(files, directory, path) })));
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
    changed.map(async (path) => !left.has(path) || (await digestOrNull(files, directory, path)) !== left.get(path)),
  );
  return changed.filter((_, index) => differs[index]);
}

/** Scripts put what they like in the place of a file: of what is no file of the pack, nothing is told. */
const digestOrNull = (files: Pick<Ports['files'], 'digestForeign'>, directory: string, path: string): Promise<string | null> =>
  files.digestForeign(`${directory}/${path}`, { within: directory, maxBytes: MOST_BYTES }).catch((error: unknown) => {
    if (isAgentError(error) && (error.code === 'INPUT_REFUSED' || error.code === 'FILE_UNREADABLE')) return null;
    throw error;
  });
