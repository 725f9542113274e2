import { createHash } from 'node:crypto';
import { mkdir, rename, rm } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import type { Files } from '../../ports/files.ts';

/**
 * Where trees are made before they are put in place. With another user who may write at that place it is a directory that only
 * the agent enters, so that nothing of an unfinished tree (its `.git` above all) can be exchanged while programs run there.
 */
export interface Building {
  /** null: beside the place. */
  readonly directory: string | null;
  /** Puts a tree in place, by a way that nobody can bend. */
  readonly files: Pick<Files, 'ensureDirectory' | 'move'> | null;
}

export const BESIDE: Building = { directory: null, files: null };

/** @returns where to make it; what an agent that was killed has left there is gone */
export async function beginTree({ directory: place }: Building, directory: string): Promise<string> {
  const name = place === null ? basename(directory) : createHash('sha256').update(directory).digest('hex').slice(0, 32);
  const unfinished = join(place ?? dirname(directory), `.${name}.partial`);
  await mkdir(dirname(unfinished), { recursive: true });
  await rm(unfinished, { recursive: true, force: true });
  return unfinished;
}

export async function finishTree({ files }: Building, unfinished: string, directory: string): Promise<void> {
  if (files === null) return rename(unfinished, directory);
  await files.ensureDirectory(dirname(directory));
  await files.move(unfinished, directory);
}
