/** What a source other than git wrote into a pack's folder: recorded there, so that changes and additions are seen later. */
import { createHash } from 'node:crypto';
import { constants, createReadStream, type Stats } from 'node:fs';
import { copyFile, type FileHandle, lstat, mkdir, open, readdir, readFile, readlink, symlink, writeFile } from 'node:fs/promises';
import { join, posix } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { AgentError } from '../../domain/errors.ts';
import { allows, type ForeignUser } from '../../domain/foreign.ts';
import { O_PATH } from '../foreign/plain-file.ts';
import { walkTo } from '../foreign/walk.ts';

/** By path: `644 <sha256>`, `755 <sha256>` or `link <target>`. */
export type FileRecords = Readonly<Record<string, string>>;

export const plainRecord = (executable: boolean, sha256: string): string => `${executable ? '755' : '644'} ${sha256}`;
export const linkRecord = (target: string): string => `link ${target}`;

/** `..` only in the beginning: after another link it would mean something else. */
export const isInnerLink = (path: string, target: string): boolean =>
  /^(\.\.\/)*(?!\.{1,2}(\/|$))[^/\0]+(\/(?!\.{1,2}(\/|$))[^/\0]+)*\/?$/.test(target) &&
  !posix.join(posix.dirname(path), target).startsWith('..');

const RECORD_FILE = '.comfy-agent-files.json';
/** What tools leave behind; no part of a pack. */
const LEFT_OUT = new Set(['.git', '__pycache__', RECORD_FILE]);
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

export const writeRecords = (directory: string, records: FileRecords): Promise<void> =>
  writeFile(join(directory, RECORD_FILE), `${JSON.stringify({ schema: 1, files: records })}\n`);

async function readRecords(directory: string): Promise<FileRecords | null> {
  const text = await readFile(join(directory, RECORD_FILE), 'utf8').catch(() => null);
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

async function recordOf(path: string): Promise<string> {
  const facts = await lstat(path);
  if (facts.isSymbolicLink()) return linkRecord(await readlink(path));
  const hash = createHash('sha256');
  await pipeline(createReadStream(path), hash);
  return plainRecord((facts.mode & 0o100) !== 0, hash.digest('hex'));
}

/** Recorded files that are gone or differ; null when nothing was recorded there. */
export async function changedFiles(directory: string): Promise<readonly string[] | null> {
  const records = await readRecords(directory);
  if (records === null) return null;
  const changed: string[] = [];
  for (const [path, record] of Object.entries(records))
    if ((await recordOf(join(directory, path)).catch(() => null)) !== record) changed.push(path);
  return changed.sort();
}

/** Paths that are not recorded, directories collapsed with a slash, without __pycache__; null when nothing was recorded there. */
export async function addedFiles(directory: string): Promise<readonly string[] | null> {
  const records = await readRecords(directory);
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
