import { createHash, randomUUID } from 'node:crypto';
import { createReadStream, type Stats } from 'node:fs';
import * as fs from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { AgentError } from '../domain/errors.ts';
import type { Files } from '../ports.ts';
import { takeLock } from './file-lock.ts';
import { tailFile } from './file-tail.ts';
import { watchFiles } from './file-watch.ts';

const errorCode = (error: unknown): string | undefined => (error as NodeJS.ErrnoException | undefined)?.code;
const isAbsent = (error: unknown): boolean => errorCode(error) === 'ENOENT' || errorCode(error) === 'ENOTDIR';

/** Faults of the disk in the user's words; anything else passes. */
function explained(error: unknown, path: string): unknown {
  const code = errorCode(error);
  if (code === 'ENOSPC' || code === 'EDQUOT')
    return new AgentError('DISK_FULL', `${path} could not be written: the disk is full`, { cause: error });
  if (code === 'EACCES' || code === 'EPERM' || code === 'EROFS') {
    return new AgentError(
      'ROOT_NOT_WRITABLE',
      `${path} could not be written: ${code === 'EROFS' ? 'the filesystem is read-only' : 'permission denied'}`,
      { cause: error },
    );
  }
  return error;
}

async function writing<T>(path: string, work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    throw explained(error, path);
  }
}

async function orNull<T>(work: Promise<T>): Promise<T | null> {
  try {
    return await work;
  } catch (error) {
    if (isAbsent(error)) return null;
    throw error;
  }
}

const stat = (path: string): Promise<Stats | null> => orNull(fs.stat(path));

/** The disk. Every write is whole or not there: temporary name, fsync, rename. */
export function createFiles(): Files {
  return {
    readText: (path) => orNull(fs.readFile(path, 'utf8')),
    writeText: (path, content, mode = 0o644) => writing(path, () => replaceFile(path, content, mode)),
    exists: async (path) => (await stat(path)) !== null,
    isDirectory: async (path) => (await stat(path))?.isDirectory() ?? false,
    size: async (path) => (await stat(path))?.size ?? null,
    modifiedAt: async (path) => (await stat(path))?.mtimeMs ?? null,
    list: async (directory) => (await orNull(fs.readdir(directory))) ?? [],
    ensureDirectory: (path, mode) =>
      writing(path, async () => {
        await fs.mkdir(path, { recursive: true, ...(mode === undefined ? {} : { mode }) });
        // A directory that was there keeps its mode, unless it is to be private.
        if (mode !== undefined && ((await fs.stat(path)).mode & 0o777 & ~mode) !== 0) await fs.chmod(path, mode);
      }),
    remove: (path) => writing(path, () => fs.rm(path, { recursive: true, force: true, maxRetries: 3 })),
    move: (from, to) => writing(to, () => fs.rename(from, to)),
    copyTree: (from, to, options) =>
      writing(to, () =>
        fs.cp(from, to, { recursive: true, verbatimSymlinks: true, force: options?.overwrite ?? true, errorOnExist: false }),
      ),
    link: (target, path) => writing(path, () => replaceLink(target, path)),
    readLink: async (path) => {
      try {
        return await fs.readlink(path);
      } catch (error) {
        if (isAbsent(error) || errorCode(error) === 'EINVAL') return null;
        throw error;
      }
    },
    realPath: (path) => orNull(fs.realpath(path)),
    digest: async (path, signal) => {
      const hash = createHash('sha256');
      for await (const chunk of createReadStream(path, { highWaterMark: 1 << 20, ...(signal === undefined ? {} : { signal }) }))
        hash.update(chunk as Buffer);
      return hash.digest('hex');
    },
    freeBytes: async (path) => {
      const facts = await orNull(fs.statfs(path));
      return facts === null ? null : facts.bavail * facts.bsize;
    },
    treeSize: (path) => treeSize(path),
    lock: (path, owner) => takeLock(path, owner),
    appendLine: (path, line) => writing(path, () => fs.appendFile(path, `${line}\n`)),
    tail: tailFile,
    watch: watchFiles,
  };
}

async function replaceFile(path: string, content: string, mode: number): Promise<void> {
  const temporary = join(dirname(path), `.${basename(path)}.${randomUUID()}`);
  const handle = await fs.open(temporary, 'wx', mode);
  try {
    try {
      await handle.writeFile(content);
      await handle.sync();
    } finally {
      await handle.close();
    }
    await fs.rename(temporary, path);
  } catch (error) {
    await fs.rm(temporary, { force: true });
    throw error;
  }
  const directory = await fs.open(dirname(path), 'r');
  try {
    await directory.sync();
  } finally {
    await directory.close();
  }
}

/** False when something that is no link is in the way: it may be somebody's data. */
async function replaceLink(target: string, path: string): Promise<boolean> {
  const before = await orNull(fs.lstat(path));
  if (before !== null && !before.isSymbolicLink()) return false;
  if (before !== null && (await fs.readlink(path)) === target) return true;
  const temporary = join(dirname(path), `.${basename(path)}.${randomUUID()}`);
  await fs.symlink(target, temporary);
  try {
    await fs.rename(temporary, path);
  } catch (error) {
    await fs.rm(temporary, { force: true });
    throw error;
  }
  return true;
}

async function treeSize(path: string): Promise<number> {
  const facts = await orNull(fs.lstat(path));
  if (facts === null) return 0;
  if (!facts.isDirectory()) return facts.blocks * 512;
  const names = (await orNull(fs.readdir(path))) ?? [];
  let total = facts.blocks * 512;
  // One directory after the other: a tree of a virtual environment has tens of thousands of files.
  for (const name of names) total += await treeSize(join(path, name));
  return total;
}
