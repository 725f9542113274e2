/** Trees and the index as git lists them, and how a path on disk compares with one of their entries. */
import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { lstat, readlink } from 'node:fs/promises';
import { join } from 'node:path';
import { pipeline } from 'node:stream/promises';

export interface TreeEntry {
  /** 100644, 100755, 120000 (link) or 160000 (submodule). */
  readonly mode: string;
  readonly id: string;
  /** Bytes; null for a submodule. */
  readonly size: number | null;
}

/** `git ls-tree -r -z -l`. */
export function parseTree(output: string): ReadonlyMap<string, TreeEntry> {
  const entries = new Map<string, TreeEntry>();
  for (const record of output.split('\0')) {
    const match = /^(\d{6}) \w+ ([0-9a-f]+) +(\d+|-)\t([\s\S]+)$/.exec(record);
    if (match === null) continue;
    const [, mode = '', id = '', size = '-', path = ''] = match;
    entries.set(path, { mode, id, size: size === '-' ? null : Number(size) });
  }
  return entries;
}

/** `git ls-files --stage -z`: object id by path. */
export function parseIndex(output: string): ReadonlyMap<string, string> {
  const entries = new Map<string, string>();
  for (const record of output.split('\0')) {
    const match = /^\d{6} ([0-9a-f]+) \d\t([\s\S]+)$/.exec(record);
    if (match !== null) entries.set(match[2] ?? '', match[1] ?? '');
  }
  return entries;
}

/** `path` is what stands there: the file itself, or the part of its path that is in the way. */
export interface OnDisk {
  readonly state: 'absent' | 'same' | 'differs';
  readonly path: string;
}

/** @param wanted null: git wants nothing there */
export async function compareWithDisk(directory: string, path: string, wanted: TreeEntry | null): Promise<OnDisk> {
  const parts = path.split('/');
  for (let depth = 1; depth < parts.length; depth++) {
    const parent = parts.slice(0, depth).join('/');
    const facts = await facts_(join(directory, parent));
    if (facts === null) return { state: 'absent', path };
    // git would put a directory in the place of a link or file.
    if (!facts.isDirectory()) return { state: wanted === null ? 'absent' : 'differs', path: parent };
  }
  const full = join(directory, path);
  const facts = await facts_(full);
  if (facts === null) return { state: 'absent', path };
  const same = wanted !== null && (await isSame(full, facts, wanted));
  return { state: same ? 'same' : 'differs', path };
}

type Facts = NonNullable<Awaited<ReturnType<typeof facts_>>>;

async function isSame(path: string, facts: Facts, wanted: TreeEntry): Promise<boolean> {
  if (wanted.mode === '160000') return facts.isDirectory();
  if (wanted.mode === '120000') return facts.isSymbolicLink() && blobId(wanted.id, Buffer.from(await readlink(path))) === wanted.id;
  if (!facts.isFile() || facts.size !== wanted.size) return false;
  if (((facts.mode & 0o100) !== 0) !== (wanted.mode === '100755')) return false;
  const digest = createHash(algorithm(wanted.id)).update(`blob ${facts.size}\0`);
  await pipeline(createReadStream(path), digest);
  return digest.digest('hex') === wanted.id;
}

const algorithm = (id: string): 'sha1' | 'sha256' => (id.length === 64 ? 'sha256' : 'sha1');
const blobId = (like: string, content: Buffer): string =>
  createHash(algorithm(like)).update(`blob ${content.length}\0`).update(content).digest('hex');
const facts_ = (path: string) => lstat(path).catch(() => null);
