/** Zip archives from strangers: listed and checked before anything is written, unpacked with limits, nothing outside, nothing twice. */
import { createHash } from 'node:crypto';
import { createReadStream, createWriteStream } from 'node:fs';
import { type FileHandle, mkdir, open, symlink } from 'node:fs/promises';
import { dirname, join, posix } from 'node:path';
import { Readable, Transform } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { crc32, createInflateRaw } from 'node:zlib';
import { AgentError } from '../../domain/errors/errors.ts';
import { type FileRecords, isInnerLink, linkRecord, plainRecord } from './tree.ts';

export interface ZipLimits {
  readonly entries: number;
  /** Of all files together, unpacked. */
  readonly bytes: number;
}

/** Ten times the largest pack that is known. */
export const ZIP_LIMITS: ZipLimits = { entries: 50_000, bytes: 4 * 1024 ** 3 };

interface ZipEntry {
  /** As written; of a directory with a slash at the end. */
  readonly name: string;
  readonly kind: 'file' | 'directory' | 'link';
  readonly executable: boolean;
  readonly deflated: boolean;
  readonly packedSize: number;
  readonly size: number;
  readonly crc: number;
  readonly offset: number;
}

const END = 0x06054b50;
const DIRECTORY_ENTRY = 0x02014b50;
const LOCAL_HEADER = 0x04034b50;
const LONGEST_TAIL = 22 + 65_535;
const LONGEST_LINK = 4_096;
const MADE_BY_UNIX = 3;

const broken = (archive: string, why: string): AgentError => new AgentError('ARCHIVE_INVALID', `${archive} ${why}`);
const refused = (archive: string, why: string): AgentError => new AgentError('SOURCE_REFUSED', `${archive} is refused: ${why}`);

/**
 * Unpacks into `directory`, which is there and empty. A directory that holds everything else is left out.
 * @param archive how it is called in messages
 * @returns what was written
 * @throws AgentError ARCHIVE_INVALID, SOURCE_REFUSED
 */
export async function unpackZip(
  file: string,
  directory: string,
  archive: string,
  { limits = ZIP_LIMITS, signal }: { readonly limits?: ZipLimits; readonly signal?: AbortSignal } = {},
): Promise<FileRecords> {
  const handle = await open(file, 'r');
  try {
    const entries = await list(handle, archive, limits);
    const places = placesOf(entries, archive);
    const records: Record<string, string> = {};
    const links: [string, ZipEntry][] = [];
    for (const [path, entry] of places) {
      signal?.throwIfAborted();
      if (entry.kind === 'link') links.push([path, entry]);
      else if (entry.kind === 'directory') await mkdir(join(directory, path), { recursive: true });
      else {
        await mkdir(dirname(join(directory, path)), { recursive: true });
        const sha256 = await write(handle, file, entry, join(directory, path), archive);
        records[path] = plainRecord(entry.executable, sha256);
      }
    }
    // Last, so that nothing was written through one.
    for (const [path, entry] of links) {
      const target = await linkTarget(handle, file, entry, path, archive);
      await mkdir(dirname(join(directory, path)), { recursive: true });
      await symlink(target, join(directory, path));
      records[path] = linkRecord(target);
    }
    return records;
  } finally {
    await handle.close();
  }
}

async function list(handle: FileHandle, archive: string, limits: ZipLimits): Promise<readonly ZipEntry[]> {
  const { size } = await handle.stat();
  const tail = await read(handle, Math.max(0, size - LONGEST_TAIL), Math.min(size, LONGEST_TAIL), archive);
  let end = tail.length - 22;
  while (end >= 0 && tail.readUInt32LE(end) !== END) end--;
  if (end < 0) throw broken(archive, 'is no zip file');
  const count = tail.readUInt16LE(end + 10);
  const directorySize = tail.readUInt32LE(end + 12);
  const directoryStart = tail.readUInt32LE(end + 16);
  if (tail.readUInt16LE(end + 4) !== 0 || directoryStart === 0xffffffff || count === 0xffff)
    throw broken(archive, 'is a zip file in parts or of more than 4 GiB, which is not supported');
  if (count > limits.entries) throw refused(archive, `it holds ${count} entries, more than ${limits.entries}`);
  if (directoryStart + directorySize > size) throw broken(archive, 'is cut off');
  const bytes = await read(handle, directoryStart, directorySize, archive);
  const entries: ZipEntry[] = [];
  let unpacked = 0;
  for (let at = 0; at + 46 <= bytes.length && bytes.readUInt32LE(at) === DIRECTORY_ENTRY; ) {
    const nameLength = bytes.readUInt16LE(at + 28);
    const next = at + 46 + nameLength + bytes.readUInt16LE(at + 30) + bytes.readUInt16LE(at + 32);
    if (next > bytes.length) throw broken(archive, 'is cut off');
    const entry = toEntry(bytes, at, nameLength, archive);
    unpacked += entry.size;
    if (unpacked > limits.bytes) throw refused(archive, `it unpacks to more than ${limits.bytes} bytes`);
    entries.push(entry);
    at = next;
  }
  if (entries.length !== count) throw broken(archive, `lists ${entries.length} of ${count} entries`);
  return entries;
}

function toEntry(bytes: Buffer, at: number, nameLength: number, archive: string): ZipEntry {
  const flags = bytes.readUInt16LE(at + 8);
  const method = bytes.readUInt16LE(at + 10);
  const raw = bytes.subarray(at + 46, at + 46 + nameLength);
  const utf8 = raw.toString('utf8');
  const name = Buffer.from(utf8).equals(raw) ? utf8 : raw.toString('latin1');
  const mode = bytes.readUInt16LE(at + 4) >> 8 === MADE_BY_UNIX ? bytes.readUInt32LE(at + 38) >>> 16 : 0;
  const type = mode & 0o170000;
  if ((flags & 1) !== 0) throw broken(archive, `is encrypted (${JSON.stringify(name)})`);
  if (method !== 0 && method !== 8) throw broken(archive, `packs ${JSON.stringify(name)} by method ${method}, which is not supported`);
  if (![0, 0o100000, 0o040000, 0o120000].includes(type)) throw refused(archive, `${JSON.stringify(name)} is no file, directory or link`);
  return {
    name,
    kind: type === 0o120000 ? 'link' : name.endsWith('/') || type === 0o040000 ? 'directory' : 'file',
    executable: (mode & 0o100) !== 0,
    deflated: method === 8,
    crc: bytes.readUInt32LE(at + 16),
    packedSize: bytes.readUInt32LE(at + 20),
    size: bytes.readUInt32LE(at + 24),
    offset: bytes.readUInt32LE(at + 42),
  };
}

/** Where each entry goes, below the directory that holds everything else if there is one. */
function placesOf(entries: readonly ZipEntry[], archive: string): ReadonlyMap<string, ZipEntry> {
  const places = new Map<string, ZipEntry>();
  for (const entry of entries) {
    const path = entry.name.replace(/\/$/, '');
    const fault = pathFault(path);
    if (fault !== null) throw refused(archive, `the path ${JSON.stringify(entry.name)} ${fault}`);
    const before = places.get(path);
    if (before !== undefined && (before.kind !== 'directory' || entry.kind !== 'directory'))
      throw refused(archive, `it holds ${JSON.stringify(path)} twice`);
    places.set(path, entry);
  }
  for (const path of places.keys()) {
    for (let parent = posix.dirname(path); parent !== '.'; parent = posix.dirname(parent)) {
      const kind = places.get(parent)?.kind ?? 'directory';
      if (kind !== 'directory') throw refused(archive, `${JSON.stringify(path)} lies below a ${kind}`);
    }
  }
  const [first = ''] = [...places.keys()].map((path) => path.split('/')[0] ?? '');
  const single =
    first !== '' && [...places].every(([path, { kind }]) => path.startsWith(`${first}/`) || (path === first && kind === 'directory'));
  if (!single) return places;
  return new Map([...places].filter(([path]) => path !== first).map(([path, entry]) => [path.slice(first.length + 1), entry]));
}

function pathFault(path: string): string | null {
  if (path.startsWith('/') || /^[A-Za-z]:/.test(path)) return 'is absolute';
  if (path.includes('\\')) return 'holds a backslash';
  // biome-ignore lint/suspicious/noControlCharactersInRegex: control characters are what is looked for
  if (/[\u0000-\u001f\u007f]/.test(path) || Buffer.byteLength(path) > 1_024) return 'cannot be the path of a file';
  for (const part of path.split('/')) {
    if (part === '..') return 'leads out of the archive';
    if (part === '' || part === '.') return 'is not plain';
    // git would take what is written there for its own.
    if (/^\.git$/i.test(part)) return 'belongs to git';
  }
  return null;
}

/** Out of an entry, checked by size and checksum; never more than the entry said. */
async function contents(handle: FileHandle, file: string, entry: ZipEntry, archive: string): Promise<Readable> {
  const header = await read(handle, entry.offset, 30, archive);
  if (header.readUInt32LE(0) !== LOCAL_HEADER) throw broken(archive, `has no data for ${JSON.stringify(entry.name)}`);
  // The local header repeats the name but may have another extra field than the directory.
  const start = entry.offset + 30 + header.readUInt16LE(26) + header.readUInt16LE(28);
  if (entry.packedSize === 0) return Readable.from([]);
  return createReadStream(file, { start, end: start + entry.packedSize - 1 });
}

const check = (entry: ZipEntry, archive: string, seen: (chunk: Buffer) => void): Transform => {
  let size = 0;
  let crc = 0;
  return new Transform({
    transform: (chunk: Buffer, _encoding, done) => {
      size += chunk.length;
      if (size > entry.size) return done(refused(archive, `${JSON.stringify(entry.name)} is larger than the archive says`));
      crc = crc32(chunk, crc);
      seen(chunk);
      done(null, chunk);
    },
    flush: (done) => done(size === entry.size && crc === entry.crc ? null : broken(archive, `is damaged (${JSON.stringify(entry.name)})`)),
  });
};

async function write(handle: FileHandle, file: string, entry: ZipEntry, target: string, archive: string): Promise<string> {
  const hash = createHash('sha256');
  const sink = createWriteStream(target, { mode: entry.executable ? 0o755 : 0o644, flags: 'wx' });
  await through(await contents(handle, file, entry, archive), entry, archive, (chunk) => hash.update(chunk), sink);
  return hash.digest('hex');
}

/** A link may name what lies in the archive, by a path that is the same however it is read. */
async function linkTarget(handle: FileHandle, file: string, entry: ZipEntry, path: string, archive: string): Promise<string> {
  if (entry.size > LONGEST_LINK) throw refused(archive, `the link ${JSON.stringify(path)} is too long`);
  const chunks: Buffer[] = [];
  await through(await contents(handle, file, entry, archive), entry, archive, (chunk) => chunks.push(chunk), null);
  const target = Buffer.concat(chunks).toString('utf8');
  if (!isInnerLink(path, target)) throw refused(archive, `the link ${JSON.stringify(path)} leads out of it`);
  return target;
}

async function through(
  source: Readable,
  entry: ZipEntry,
  archive: string,
  seen: (chunk: Buffer) => unknown,
  sink: NodeJS.WritableStream | null,
): Promise<void> {
  const checked = check(entry, archive, seen);
  const steps = entry.deflated ? [source, createInflateRaw(), checked] : [source, checked];
  try {
    if (sink === null) {
      checked.resume();
      await pipeline(steps);
    } else await pipeline([...steps, sink]);
  } catch (error) {
    throw /^(Z_|ERR_ZLIB)/.test(String((error as NodeJS.ErrnoException).code))
      ? broken(archive, `is damaged (${JSON.stringify(entry.name)})`)
      : error;
  }
}

async function read(handle: FileHandle, position: number, size: number, archive: string): Promise<Buffer> {
  const buffer = Buffer.alloc(size);
  const { bytesRead } = await handle.read(buffer, 0, size, position);
  if (bytesRead < size) throw broken(archive, 'is cut off');
  return buffer;
}
