import { constants, type Stats } from 'node:fs';
import { type FileHandle, lstat, open, opendir, readdir, realpath, rmdir, unlink } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import type { FoundFile } from '../../domain/upkeep/upkeep.ts';
import { isAbsent, readFault, writeFault } from './errors.ts';

/** Deeper trees are no outputs of anybody, and a walk must end. */
const DEPTH_LIMIT = 32;

const changedAt = (facts: Stats): number => Math.max(facts.mtimeMs, facts.ctimeMs);

/** Plain files below a directory; links, other filesystems and what is no plain file are passed over. */
export async function* walkFiles(directory: string, signal: AbortSignal): AsyncGenerator<FoundFile> {
  const top = await factsOf(directory);
  if (top === null || !top.isDirectory()) return;
  yield* walkBelow(directory, '', top.dev, 0, signal);
}

async function* walkBelow(top: string, below: string, device: number, depth: number, signal: AbortSignal): AsyncGenerator<FoundFile> {
  if (depth > DEPTH_LIMIT) return;
  let entries: Awaited<ReturnType<typeof opendir>>;
  try {
    entries = await opendir(join(top, below));
  } catch (error) {
    if (isAbsent(error)) return;
    throw readFault(error, join(top, below));
  }
  for await (const entry of entries) {
    signal.throwIfAborted();
    const path = below === '' ? entry.name : `${below}/${entry.name}`;
    const facts = await factsOf(join(top, path));
    if (facts === null || facts.dev !== device) continue;
    if (facts.isDirectory()) yield* walkBelow(top, path, device, depth + 1, signal);
    else if (facts.isFile()) yield { path, bytes: facts.blocks * 512, changedAt: changedAt(facts), inode: facts.ino };
  }
}

async function factsOf(path: string): Promise<Stats | null> {
  try {
    return await lstat(path);
  } catch (error) {
    if (isAbsent(error)) return null;
    throw readFault(error, path);
  }
}

/**
 * Removes a file that was found. Its directory is opened first and looked at by what it really is, so that a directory that
 * became a link meanwhile leads nowhere else; the file must be the one that was found.
 */
export async function removeFound(directory: string, file: FoundFile): Promise<boolean> {
  if (file.path.split('/').includes('..')) return false;
  const parent = await openReally(directory, dirname(file.path));
  if (parent === null) return false;
  try {
    const path = `/proc/self/fd/${parent.fd}/${file.path.split('/').at(-1) ?? ''}`;
    const facts = await factsOf(path);
    if (facts === null || !facts.isFile() || facts.ino !== file.inode || changedAt(facts) !== file.changedAt) return false;
    await unlink(path);
    return true;
  } catch (error) {
    if (isAbsent(error)) return false;
    throw writeFault(error, join(directory, file.path));
  } finally {
    await parent.close();
  }
}

/** A directory below another without a link on the way; null when there is none. */
async function openReally(top: string, below: string): Promise<FileHandle | null> {
  try {
    // Not the real path of the directory itself: it must be no link either.
    const real = join(await realpath(dirname(top)), basename(top));
    const handle = await open(join(top, below), constants.O_RDONLY | constants.O_DIRECTORY | constants.O_NOFOLLOW);
    if ((await realpath(`/proc/self/fd/${handle.fd}`)) === join(real, below)) return handle;
    await handle.close();
    return null;
  } catch {
    return null;
  }
}

/** Directories that are empty since before the moment, the deepest first; never the one that is named. */
export async function removeEmpty(directory: string, changedBefore: number): Promise<number> {
  const top = await factsOf(directory);
  if (top === null || !top.isDirectory()) return 0;
  return removeEmptyBelow(directory, top.dev, changedBefore, 0);
}

async function removeEmptyBelow(directory: string, device: number, changedBefore: number, depth: number): Promise<number> {
  if (depth > DEPTH_LIMIT) return 0;
  let removed = 0;
  const entries = await readdir(directory, { withFileTypes: true }).catch(() => []);
  for (const entry of entries) {
    if (!entry.isDirectory()) continue;
    const path = join(directory, entry.name);
    const facts = await factsOf(path);
    if (facts === null || !facts.isDirectory() || facts.dev !== device) continue;
    removed += await removeEmptyBelow(path, device, changedBefore, depth + 1);
    // rmdir refuses what is not empty, and does not follow links. What was emptied just now waits for the next time.
    if (
      changedAt(facts) < changedBefore &&
      (await rmdir(path).then(
        () => true,
        () => false,
      ))
    )
      removed += 1;
  }
  return removed;
}
