import { createHash, randomUUID } from 'node:crypto';
import { constants } from 'node:fs';
import * as fs from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { AgentError } from '../../domain/errors/errors.ts';
import { type Border, type ForeignUser, INPUT_LIMITS } from '../../domain/files/foreign.ts';
import type { Files } from '../../ports/files.ts';
import { errorCode, isAbsent, readFault, writeFault } from './errors.ts';
import { openPlain, readBounded } from './foreign/plain-file.ts';
import { digestForeign, readForeign, readInstruction } from './foreign/read.ts';
import { takeLock } from './lock.ts';
import { moveTree } from './move.ts';
import { tailFile } from './tail.ts';
import { copyTree, syncDirectory, treeStamp, treeUsage } from './tree.ts';
import { type LinkTrust, removeTree, wayTo, within } from './trusted-path.ts';
import { watchFiles } from './watch.ts';

const NO_USAGE = { bytes: 0, ownBytes: 0 };
const DIGEST_CHUNK_BYTES = 1024 * 1024;

async function writing<T>(path: string, work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    throw writeFault(error, path);
  }
}

/** A plain file that is open for as long as the work takes. */
async function withPlain<T>(path: string, work: (handle: fs.FileHandle) => Promise<T>): Promise<T> {
  const handle = await openPlain(path);
  try {
    return await work(handle);
  } finally {
    await handle.close();
  }
}

/** `absent` when nothing is there. */
async function reading<T, A>(path: string, work: () => Promise<T>, absent: A): Promise<T | A> {
  try {
    return await work();
  } catch (error) {
    if (isAbsent(error)) return absent;
    throw readFault(error, path);
  }
}

const stat = (path: string) => reading(path, () => fs.stat(path), null);

export interface FilesOptions {
  /** Whose rights count for what `readForeign` reads; null: the agent's own. */
  readonly foreign?: ForeignUser | null;
  /** Who could have written what `readInstruction` reads; null: whoever has this user. */
  readonly border?: Border | null;
  /** Of whom links are followed on the way to what is written or removed; null: of everybody. */
  readonly trust?: LinkTrust;
}

/**
 * The disk. Every write is whole or not there: temporary name, fsync, rename. What cannot be written is ROOT_NOT_WRITABLE
 * or DISK_FULL, what is there and cannot be read FILE_UNREADABLE, each with the path.
 */
export function createFiles({ foreign = null, border = null, trust = null }: FilesOptions = {}): Files {
  const at = wayTo(trust);
  const making = wayTo(trust, true);
  return {
    readText: (path) => reading(path, () => withPlain(path, (handle) => readBounded(handle, INPUT_LIMITS.record)), null),
    readForeign: (path, options) => readForeign(path, options, foreign),
    digestForeign: (path, options) => digestForeign(path, options, foreign),
    readInstruction: (path, options) => readInstruction(path, options, border),
    writeText: (path, content, mode) => writing(path, () => at(path, (place) => replaceFile(place, content, mode))),
    exists: async (path) => (await stat(path)) !== null,
    isDirectory: async (path) => (await stat(path))?.isDirectory() ?? false,
    size: async (path) => (await stat(path))?.size ?? null,
    modifiedAt: async (path) => (await stat(path))?.mtimeMs ?? null,
    list: (directory) => reading(directory, () => fs.readdir(directory), []),
    ensureDirectory: (path, mode) => writing(path, () => making(path, (place) => ensureDirectory(place, mode, trust))),
    remove: (path) => writing(path, () => orAbsent(at(path, (place) => removeTree(place, trust)))),
    move: (from, to) => writing(to, () => at(from, (source) => at(to, (place) => moveTree(source, place, trust)))),
    copyTree: (from, to, options) =>
      writing(to, async () => {
        await making(to, async (place) => {
          if (trust === null) await fs.mkdir(dirname(place), { recursive: true });
          await at(from, (source) => copyTree(source, place, options?.overwrite ?? true, trust));
        });
      }),
    link: (target, path) => writing(path, () => at(path, (place) => replaceLink(target, place))),
    readLink: async (path) => {
      try {
        return await fs.readlink(path);
      } catch (error) {
        if (isAbsent(error) || errorCode(error) === 'EINVAL') return null;
        throw readFault(error, path);
      }
    },
    realPath: (path) => reading(path, () => fs.realpath(path), null),
    digest: async (path, signal) => {
      const hash = createHash('sha256');
      try {
        signal?.throwIfAborted();
        await withPlain(path, async (handle) => {
          const content = handle.createReadStream({
            highWaterMark: DIGEST_CHUNK_BYTES,
            autoClose: false,
            ...(signal === undefined ? {} : { signal }),
          });
          for await (const chunk of content) hash.update(chunk as Buffer);
        });
      } catch (error) {
        throw readFault(error, path);
      }
      return hash.digest('hex');
    },
    freeBytes: async (path) => {
      const facts = await reading(path, () => fs.statfs(path), null);
      return facts === null ? null : facts.bavail * facts.bsize;
    },
    inodes: async (path) => {
      const facts = await reading(path, () => fs.statfs(path), null);
      return facts === null || facts.files === 0 ? null : { free: facts.ffree, total: facts.files };
    },
    treeSize: async (path) => (await reading(path, () => treeUsage(path), NO_USAGE)).bytes,
    treeUsage: (path) => reading(path, () => treeUsage(path), NO_USAGE),
    treeStamp: (path) => reading(path, () => treeStamp(path), ''),
    lock: takeLock,
    appendLine: (path, line) => writing(path, () => at(path, (place) => appendLine(place, `${line}\n`))),
    tail: tailFile,
    readPart: (path, offset, limit) =>
      reading(
        path,
        () =>
          withPlain(path, async (handle) => {
            const { size } = await handle.stat();
            const from = offset < 0 ? Math.max(0, size + offset) : offset;
            const { buffer, bytesRead } = await handle.read(Buffer.alloc(Math.max(0, Math.min(limit, size - from))), 0, null, from);
            return { text: buffer.toString('utf8', 0, bytesRead), next: from + bytesRead, size };
          }),
        null,
      ),
    watch: watchFiles,
  };
}

async function replaceFile(path: string, content: string, mode: number | undefined): Promise<void> {
  const temporary = temporaryBeside(path);
  // A mode that is asked for is there before the content, and is exact whatever the umask.
  const handle = await fs.open(temporary, 'wx', mode ?? 0o644);
  try {
    try {
      if (mode !== undefined) await handle.chmod(mode);
      await handle.writeFile(content);
      await handle.sync();
    } finally {
      await handle.close();
    }
    await fs.rename(temporary, path);
  } catch (error) {
    await fs.rm(temporary, { force: true }).catch(() => undefined);
    throw error;
  }
  await syncDirectory(dirname(path));
}

/** Never through a link in place of the file. */
async function appendLine(path: string, line: string): Promise<void> {
  const { O_APPEND, O_CREAT, O_NOFOLLOW, O_WRONLY } = constants;
  const handle = await fs.open(path, O_APPEND | O_CREAT | O_NOFOLLOW | O_WRONLY, 0o666);
  try {
    await handle.writeFile(line);
  } finally {
    await handle.close();
  }
}

/** What is in no directory is gone already. */
const orAbsent = (work: Promise<void>): Promise<void> =>
  work.catch((error: unknown) => (isAbsent(error) ? undefined : Promise.reject(error)));

const temporaryBeside = (path: string): string => join(dirname(path), `.${basename(path).slice(0, 200)}.${randomUUID()}`);

/** Only the last directory gets the mode: a private directory must not make private those on the way to it. */
async function ensureDirectory(path: string, mode: number | undefined, trust: LinkTrust): Promise<void> {
  if (trust === null) await fs.mkdir(dirname(path), { recursive: true });
  const isMade = await fs.mkdir(path, mode === undefined ? {} : { mode }).then(
    () => true,
    (error: unknown) => {
      if (errorCode(error) === 'EEXIST') return false;
      throw error;
    },
  );
  // Gone into, so that it stays the one that was looked at.
  await within(trust, path, async (place) => {
    const facts = await fs.stat(place);
    if (!facts.isDirectory()) throw Object.assign(new Error(`${path} is not a directory`), { code: 'EEXIST' });
    if (mode === undefined) return;
    // One that was there keeps its mode, unless it is more open than asked.
    if (isMade ? (facts.mode & 0o777) !== mode : (facts.mode & 0o777 & ~mode) !== 0) await fs.chmod(place, mode);
  });
}

/** A directory that this user may not write to answers EACCES. */
const TAKES_NO_LINKS = new Set(['EPERM', 'EOPNOTSUPP', 'ENOSYS']);

/** False when something that is no link is in the way: it may be somebody's data. */
async function replaceLink(target: string, path: string): Promise<boolean> {
  const before = await fs.lstat(path).catch((error: unknown) => {
    if (isAbsent(error)) return null;
    throw error;
  });
  if (before !== null && !before.isSymbolicLink()) return false;
  if (before !== null && (await fs.readlink(path)) === target) return true;
  const temporary = temporaryBeside(path);
  await fs.symlink(target, temporary).catch((error: unknown) => {
    throw TAKES_NO_LINKS.has(errorCode(error) ?? '')
      ? new AgentError('ROOT_UNSUITABLE', `${path} cannot be made: the filesystem there takes no symbolic links`, { cause: error })
      : error;
  });
  try {
    await fs.rename(temporary, path);
  } catch (error) {
    await fs.rm(temporary, { force: true });
    throw error;
  }
  return true;
}
