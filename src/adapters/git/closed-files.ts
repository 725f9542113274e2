import { randomUUID } from 'node:crypto';
import { lstat, open, rename, rm } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { INPUT_LIMITS } from '../../domain/files/foreign.ts';
import { bytesOf, openPlain } from '../files/foreign/plain-file.ts';
import { compareWithDisk, type TreeEntry } from './tree.ts';

const OTHERS_WRITE = 0o022;

/**
 * git makes files as the umask has it, which with two users lets the other one write. What lies where only this user makes
 * files is put anew as the commit has it, for nobody else to write: another file, so that whoever opened the first one has nothing.
 * Bigger files are nothing that is obeyed.
 * @returns paths that are not as the commit has them any more
 */
export async function closeFiles(directory: string, target: ReadonlyMap<string, TreeEntry>): Promise<readonly string[]> {
  const changed: string[] = [];
  for (const [path, entry] of target) {
    if (!entry.mode.startsWith('100') || (entry.size ?? 0) > INPUT_LIMITS.workflow) continue;
    const facts = await lstat(join(directory, path)).catch(() => null);
    if (facts === null || !facts.isFile() || (facts.mode & OTHERS_WRITE) === 0 || !(await isClosed(directory, path))) continue;
    if (!(await putAnew(directory, path, entry))) changed.push(path);
  }
  return changed;
}

/** Whether nobody else makes files there, or moves one of the directories. */
async function isClosed(directory: string, path: string): Promise<boolean> {
  for (let place = dirname(path); ; place = dirname(place)) {
    const facts = await lstat(join(directory, place)).catch(() => null);
    if (facts === null || !facts.isDirectory() || (facts.mode & OTHERS_WRITE) !== 0) return false;
    if (place === '.') return true;
  }
}

async function putAnew(directory: string, path: string, entry: TreeEntry): Promise<boolean> {
  const beside = join(dirname(path), `.${basename(path).slice(0, 200)}.${randomUUID()}`);
  const temporary = join(directory, beside);
  const isProgram = entry.mode === '100755';
  try {
    const from = await openPlain(join(directory, path));
    const to = await open(temporary, 'wx', isProgram ? 0o700 : 0o600);
    try {
      await to.writeFile(await bytesOf(from, INPUT_LIMITS.workflow));
      if ((await compareWithDisk(directory, beside, entry)).state !== 'same') return false;
      await to.chmod(isProgram ? 0o755 : 0o644);
      await rename(temporary, join(directory, path));
      return true;
    } finally {
      await Promise.all([from.close(), to.close()]);
    }
  } finally {
    await rm(temporary, { force: true });
  }
}
