import { createHash, randomUUID } from 'node:crypto';
import { constants, type Stats } from 'node:fs';
import * as fs from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { errorCode, isAbsent } from './errors.ts';
import { NotPlain, openPlain } from './foreign/plain-file.ts';
import { type LinkTrust, within } from './trusted-path.ts';

const factsOf = (path: string): Promise<Stats | null> =>
  fs.lstat(path).catch((error: unknown) => {
    if (isAbsent(error)) return null;
    throw error;
  });

/**
 * Copies a tree, or one file, links as they are. Each file is whole or not there; a cut copy can be repeated. Sockets,
 * pipes and devices are left out.
 */
export async function copyTree(from: string, to: string, overwrite: boolean, trust: LinkTrust = null): Promise<void> {
  const source = await fs.lstat(from);
  if (source.isDirectory()) {
    if (!(await makeLike(source, to, overwrite))) return;
    // One directory after the other: a big tree must not take all the file handles.
    await within(trust, from, (left) =>
      within(trust, to, async (right) => {
        for (const name of await fs.readdir(left)) await copyTree(join(left, name), join(right, name), overwrite, trust);
      }),
    );
    return;
  }
  if (!source.isFile() && !source.isSymbolicLink()) return;
  if (!overwrite && (await factsOf(to)) !== null) return;
  const temporary = join(dirname(to), `.${basename(to).slice(0, 200)}.${randomUUID()}`);
  try {
    if (source.isSymbolicLink()) await fs.symlink(await fs.readlink(from), temporary);
    else if (!(await copyFile(from, temporary))) return;
    await fs.rename(temporary, to);
  } catch (error) {
    await fs.rm(temporary, { force: true });
    throw error;
  }
}

/** What was a file when it was looked at: never what a link in its place leads to. */
async function copyFile(from: string, to: string): Promise<boolean> {
  const file = await openPlain(from, false).catch((error: unknown) => {
    if (error instanceof NotPlain) return null;
    throw error;
  });
  if (file === null) return false;
  try {
    await fs.copyFile(`/proc/self/fd/${file.fd}`, to, constants.COPYFILE_EXCL | constants.COPYFILE_FICLONE);
    return true;
  } finally {
    await file.close();
  }
}

/** False when something that is no directory is in the place and is not to be overwritten. */
async function makeLike(source: Stats, path: string, overwrite: boolean): Promise<boolean> {
  try {
    await fs.mkdir(path, { mode: (source.mode & 0o777) | 0o200 });
    return true;
  } catch (error) {
    if ((await fs.stat(path).catch(() => null))?.isDirectory()) return true;
    if (overwrite || (await factsOf(path)) === null) throw error;
    return false;
  }
}

/** Disk blocks, as `du` counts. One directory after the other: a virtual environment has tens of thousands of files. */
export async function treeUsage(path: string): Promise<{ bytes: number; ownBytes: number }> {
  const facts = await factsOf(path);
  const bytes = facts === null ? 0 : facts.blocks * 512;
  if (facts === null || !facts.isDirectory()) return { bytes, ownBytes: facts !== null && facts.nlink > 1 ? 0 : bytes };
  const total = { bytes, ownBytes: bytes };
  const names = await fs.readdir(path).catch((error: unknown) => {
    if (isAbsent(error)) return [];
    throw error;
  });
  // Side by side: most of the time of one look is waiting for it.
  for (const part of await Promise.all(names.map((name) => treeUsage(join(path, name))))) {
    total.bytes += part.bytes;
    total.ownBytes += part.ownBytes;
  }
  return total;
}

/** See `Files.treeStamp`. By the time of the last change of each inode, which nobody can set. */
export async function treeStamp(path: string): Promise<string> {
  const hash = createHash('sha256');
  const walk = async (place: string): Promise<void> => {
    const facts = await fs.lstat(place, { bigint: true }).catch((error: unknown) => {
      if (isAbsent(error)) return null;
      throw error;
    });
    hash.update(facts === null ? `${place}\0` : `${place}\0${facts.ino} ${facts.mode} ${facts.size} ${facts.ctimeNs}\0`);
    if (facts?.isDirectory()) for (const name of (await fs.readdir(place)).sort()) await walk(join(place, name));
  };
  await walk(path);
  return hash.digest('hex');
}

/** Makes the rename durable. The file is in place already, and some network filesystems cannot do this: no fault then. */
export async function syncDirectory(path: string): Promise<void> {
  try {
    const directory = await fs.open(path, 'r');
    try {
      await directory.sync();
    } finally {
      await directory.close();
    }
  } catch (error) {
    if (errorCode(error) === 'EIO') throw error;
  }
}
