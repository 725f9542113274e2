import { constants } from 'node:fs';
import * as fs from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { errorCode } from './errors.ts';
import { copyTree, syncDirectory } from './tree.ts';
import { type LinkTrust, removeTree, within } from './trusted-path.ts';

/**
 * Renames; between two filesystems (a mounted volume) copies, and removes the source when the copy is in place and on the
 * disk. Cut anywhere, each of the two names is whole or not there, one of them always is, and the move can be repeated.
 * Sockets, pipes and devices are not copied.
 */
export async function moveTree(from: string, to: string, trust: LinkTrust = null): Promise<void> {
  try {
    await fs.rename(from, to);
  } catch (error) {
    if (errorCode(error) !== 'EXDEV') throw error;
    await moveAcross(from, to, trust);
  }
}

async function moveAcross(from: string, to: string, trust: LinkTrust): Promise<void> {
  // Names that a repeated move finds again, so that what a cut one left does not stay for ever.
  const arriving = hiddenBeside(to, 'arriving');
  const leaving = hiddenBeside(from, 'leaving');
  await removeTree(arriving, trust);
  try {
    await copyTree(from, arriving, true, trust);
    await settle(from, arriving, trust);
    await fs.rename(arriving, to);
  } catch (error) {
    await removeTree(arriving, trust).catch(() => undefined);
    throw error;
  }
  await syncDirectory(dirname(to));
  // Gone at once: half a tree under its own name would be taken for the whole.
  await removeTree(leaving, trust);
  await fs.rename(from, leaving);
  // The move is done; what cannot be removed now (a directory without write permission) is only in the way.
  await removeTree(leaving, trust).catch(() => undefined);
}

const hiddenBeside = (path: string, state: string): string => join(dirname(path), `.${basename(path).slice(0, 200)}.${state}`);

/** Gives a copy the modes and times of its source, as a rename would have kept them, and brings it to the disk. */
async function settle(from: string, copy: string, trust: LinkTrust): Promise<void> {
  const source = await fs.lstat(from);
  if (source.isSymbolicLink()) return fs.lutimes(copy, source.atime, source.mtime);
  if (!source.isFile() && !source.isDirectory()) return;
  if (source.isDirectory())
    await within(trust, from, (left) =>
      within(trust, copy, async (right) => {
        for (const name of await fs.readdir(right)) await settle(join(left, name), join(right, name), trust);
      }),
    );
  const handle = await fs.open(copy, constants.O_RDONLY | constants.O_NOFOLLOW);
  try {
    await handle.chmod(source.mode & 0o7777);
    await handle.utimes(source.atime, source.mtime);
    await handle.sync();
  } finally {
    await handle.close();
  }
}
