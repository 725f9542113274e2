/** What a source brought into a folder: recorded where only the agent writes, so that changes and additions are seen later. */
import { createHash, randomUUID } from 'node:crypto';
import { constants, type Stats } from 'node:fs';
import {
  copyFile,
  type FileHandle,
  lstat,
  mkdir,
  open,
  readdir,
  readFile,
  readlink,
  realpath,
  rename,
  rm,
  symlink,
  writeFile,
} from 'node:fs/promises';
import { join, posix } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { AgentError } from '../../domain/errors/errors.ts';
import { allows, type ForeignUser } from '../../domain/files/foreign.ts';
import { NotPlain, O_PATH, openPlain, readPlain } from '../files/foreign/plain-file.ts';
import { walkTo } from '../files/foreign/walk.ts';

/** By path: `644 <sha256>`, `755 <sha256>`, `link <target>`, or `directory` of one that came empty. */
export type FileRecords = Readonly<Record<string, string>>;

export const plainRecord = (executable: boolean, sha256: string): string => `${executable ? '755' : '644'} ${sha256}`;
export const linkRecord = (target: string): string => `link ${target}`;

/** `..` only in the beginning: after another link it would mean something else. */
export const isInnerLink = (path: string, target: string): boolean =>
  /^(\.\.\/)*(?!\.{1,2}(\/|$))[^/\0]+(\/(?!\.{1,2}(\/|$))[^/\0]+)*\/?$/.test(target) &&
  !posix.join(posix.dirname(path), target).startsWith('..');

const MAX_PATH_BYTES = 16 * 1024;
/** What tools leave behind; no part of a pack. */
const LEFT_OUT = new Set(['.git', '__pycache__']);
const MAX_FILES = 50_000;
/** A file full of holes says more than any disk has. */
const MAX_GIB = 8;

/** One digest of all paths, modes and contents. */
export const treeDigest = (records: FileRecords): string =>
  createHash('sha256')
    .update(
      JSON.stringify(
        Object.keys(records)
          .sort()
          .map((path) => [path, records[path]]),
      ),
    )
    .digest('hex');

/** What was put where, in a directory of the agent: packs could write into a list that lies in their own folder. */
const recordFile = (records: string, directory: string): string =>
  join(records, `${createHash('sha256').update(directory).digest('hex').slice(0, 32)}.json`);

/** Notes what a place gets, and forgets places that are gone. */
export async function writeRecords(records: string, directory: string, files: FileRecords): Promise<void> {
  await mkdir(records, { recursive: true, mode: 0o700 });
  for (const name of (await readdir(records)).filter((each) => each.endsWith('.json'))) {
    const text = await readPlain(join(records, name), MAX_PATH_BYTES);
    // Another one is forgetting it.
    if (text === null) continue;
    const [, place] = /^\{"schema":1,"directory":("(?:[^"\\]|\\.)*")/.exec(text) ?? [];
    const isGone = place === undefined || (await lstat(JSON.parse(place) as string).catch(() => null)) === null;
    if (isGone) await rm(join(records, name), { force: true });
  }
  // Whole or not there: several places get theirs at the same time, and each looks at all.
  const file = recordFile(records, directory);
  const beside = `${file}.${randomUUID()}.new`;
  try {
    await writeFile(beside, `${JSON.stringify({ schema: 1, directory, files })}\n`, { mode: 0o600 });
    await rename(beside, file);
  } finally {
    await rm(beside, { force: true });
  }
}

const readRecords = async (records: string, directory: string): Promise<FileRecords | null> =>
  parseRecords(await readFile(recordFile(records, directory), 'utf8').catch(() => null));

function parseRecords(text: string | null): FileRecords | null {
  if (text === null) return null;
  try {
    const { files } = JSON.parse(text) as { readonly files?: unknown };
    return files !== null && typeof files === 'object' ? (files as FileRecords) : null;
  } catch {
    return null;
  }
}

/**
 * Copies a tree that the operator named, without what tools leave behind. Each entry is opened in the directory that is held
 * open, so that nothing that is exchanged meanwhile leads elsewhere.
 * @param reader only what this user may read is copied, whatever the agent may; null: the agent's own rights count
 * @throws AgentError SOURCE_REFUSED
 */
export async function copyDirectory(
  from: string,
  to: string,
  signal: AbortSignal | undefined,
  reader: ForeignUser | null = null,
): Promise<FileRecords> {
  const records: Record<string, string> = {};
  let bytes = 0;
  const requireReadable = (facts: Pick<Stats, 'uid' | 'gid' | 'mode'>, shown: string, ...bits: readonly (4 | 1)[]): void => {
    if (reader !== null && bits.some((bit) => !allows(facts, reader, bit)))
      throw refused(from, `${reader.name}, who runs ComfyUI, may not read ${shown}`);
  };
  const copy = async (entry: FileHandle, path: string): Promise<void> => {
    await copyFile(`/proc/self/fd/${entry.fd}`, join(to, path), constants.COPYFILE_EXCL | constants.COPYFILE_FICLONE);
    records[path] = await recordOf(join(to, path));
  };
  const walk = async (here: FileHandle, below: string): Promise<void> => {
    await mkdir(join(to, below), { recursive: true });
    for (const name of (await readdir(`/proc/self/fd/${here.fd}`)).sort()) {
      if (LEFT_OUT.has(name)) continue;
      signal?.throwIfAborted();
      const path = below === '' ? name : `${below}/${name}`;
      const place = `/proc/self/fd/${here.fd}/${name}`;
      const entry = await open(place, O_PATH | constants.O_NOFOLLOW);
      try {
        const facts = await entry.stat();
        if (facts.isDirectory()) {
          requireReadable(facts, path, 4, 1);
          await walk(entry, path);
          continue;
        }
        if (Object.keys(records).length >= MAX_FILES) throw refused(from, `it holds more than ${MAX_FILES} files`);
        if (facts.isSymbolicLink()) {
          const target = await readlink(place);
          if (!isInnerLink(path, target)) throw refused(from, `the link ${path} leads out of it`);
          await symlink(target, join(to, path));
          records[path] = linkRecord(target);
        } else if (facts.isFile()) {
          requireReadable(facts, path, 4);
          bytes += facts.size;
          if (bytes > MAX_GIB * 1024 ** 3) throw refused(from, `with ${path} it is larger than ${MAX_GIB} GiB`);
          await copy(entry, path);
        } else throw refused(from, `${path} is no file, directory or link`);
      } finally {
        await entry.close();
      }
    }
  };
  const { place, way } = await walkTo(from, null);
  try {
    for (const entry of way) if (entry.kind === 'directory') requireReadable(entry, entry.path, 1);
    requireReadable(await place.stat(), from, 4);
    await walk(place, '');
  } finally {
    await place.close();
  }
  return records;
}

const refused = (from: string, why: string): AgentError => new AgentError('SOURCE_REFUSED', `the directory ${from} is refused: ${why}`);

/** Of a tree that is complete and that nobody else can change yet. Files of git itself and of Python are no part of it. */
export async function recordTree(directory: string, signal?: AbortSignal): Promise<FileRecords> {
  const records: Record<string, string> = {};
  const walk = async (below: string): Promise<void> => {
    const names = (await readdir(join(directory, below))).filter((name) => !LEFT_OUT.has(name)).sort();
    if (names.length === 0 && below !== '') records[below] = DIRECTORY;
    for (const name of names) {
      signal?.throwIfAborted();
      const path = below === '' ? name : `${below}/${name}`;
      const record = await recordOf(join(directory, path));
      if (record === DIRECTORY) await walk(path);
      else records[path] = record;
    }
  };
  await walk('');
  return records;
}

const DIRECTORY = 'directory';

/** Never waits for a pipe, and never reads what a link leads to. */
async function recordOf(path: string): Promise<string> {
  const facts = await lstat(path);
  if (facts.isSymbolicLink()) return linkRecord(await readlink(path));
  if (facts.isDirectory()) return DIRECTORY;
  const file = await openPlain(path, false).catch((error: unknown) => {
    if (error instanceof NotPlain) return null;
    throw error;
  });
  if (file === null) return 'no plain file';
  try {
    // Nothing larger was ever brought.
    if ((await file.stat()).size > MAX_GIB * 1024 ** 3) return 'no plain file';
    const hash = createHash('sha256');
    await pipeline(file.createReadStream({ autoClose: false }), hash);
    return plainRecord((facts.mode & 0o100) !== 0, hash.digest('hex'));
  } finally {
    await file.close();
  }
}

/** Recorded files that are gone or differ; null when nothing was recorded there. */
export async function changedFiles(place: string, directory: string): Promise<readonly string[] | null> {
  const records = await readRecords(place, directory);
  if (records === null) return null;
  const changed: string[] = [];
  const top = await realpath(directory).catch(() => null);
  const folders = Map.groupBy(Object.entries(records), ([path]) => posix.dirname(path));
  for (const [folder, entries] of folders) {
    // No link leads out: what stands elsewhere is not what was brought.
    const found = top === null ? null : await walkTo(join(top, folder), top).catch(() => null);
    try {
      for (const [path, record] of entries) {
        const entry = found === null ? null : `/proc/self/fd/${found.place.fd}/${posix.basename(path)}`;
        if (entry === null || (await recordOf(entry).catch(() => null)) !== record) changed.push(path);
      }
    } finally {
      await found?.place.close();
    }
  }
  return changed.sort();
}

/** Paths that are not recorded, directories collapsed with a slash, without __pycache__; null when nothing was recorded there. */
export async function addedFiles(place: string, directory: string): Promise<readonly string[] | null> {
  const records = await readRecords(place, directory);
  if (records === null) return null;
  const known = new Set<string>();
  for (const path of Object.keys(records)) {
    const parts = path.split('/');
    for (let depth = 1; depth <= parts.length; depth++) known.add(parts.slice(0, depth).join('/'));
  }
  const walk = async (below: string): Promise<string[]> => {
    const found: string[] = [];
    for (const entry of (await readdir(join(directory, below), { withFileTypes: true })).sort((a, b) => (a.name < b.name ? -1 : 1))) {
      if (LEFT_OUT.has(entry.name)) continue;
      const path = below === '' ? entry.name : `${below}/${entry.name}`;
      if (!known.has(path)) found.push(entry.isDirectory() ? `${path}/` : path);
      else if (entry.isDirectory() && records[path] === undefined) found.push(...(await walk(path)));
    }
    return found;
  };
  return walk('');
}
