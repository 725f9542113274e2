/** The one way a file is opened for reading: only plain files, and without ever waiting for somebody at the other end. */
import { createHash } from 'node:crypto';
import { constants, type Stats } from 'node:fs';
import { type FileHandle, open } from 'node:fs/promises';
import { tooLarge } from '../../../domain/files/foreign.ts';

/** A descriptor that names an entry and opens nothing: no FIFO waits, no device begins to work. The same on x86-64 and arm64. */
export const O_PATH = 0o10000000;
const CHUNK_BYTES = 64 * 1024;

/** In place of a file there is something that is none; or more than anybody asked for. */
export class NotPlain extends Error {}

export function kindInWords(facts: Stats): string {
  if (facts.isDirectory()) return 'a directory';
  if (facts.isSymbolicLink()) return 'a link';
  if (facts.isFIFO()) return 'a named pipe';
  if (facts.isSocket()) return 'a socket';
  return facts.isFile() ? 'a file' : 'a device';
}

/** @param follows a link at the end of the path; false: it is no plain file. @throws NotPlain, and what the system says */
export async function openPlain(path: string, follows = true): Promise<FileHandle> {
  const place = await open(path, follows ? O_PATH : O_PATH | constants.O_NOFOLLOW);
  try {
    return await openPlace(place);
  } finally {
    await place.close();
  }
}

/** For reading what a descriptor of O_PATH names: that very entry, whatever stands at its path by now. */
export async function openPlace(place: FileHandle): Promise<FileHandle> {
  const facts = await place.stat();
  if (!facts.isFile()) throw new NotPlain(`it is ${kindInWords(facts)}, not a file`);
  return open(`/proc/self/fd/${place.fd}`, constants.O_RDONLY | constants.O_NONBLOCK);
}

/** The beginning of a file, in bytes; null: there is no plain one, or it may not be read. Never follows a link. */
export async function readPlain(path: string, limit: number): Promise<string | null> {
  const file = await openPlain(path, false).catch(() => null);
  if (file === null) return null;
  try {
    const { buffer, bytesRead } = await file.read(Buffer.alloc(limit), 0, limit, 0);
    return buffer.toString('utf8', 0, bytesRead);
  } finally {
    await file.close();
  }
}

export const readBounded = async (handle: FileHandle, maxBytes: number): Promise<string> =>
  (await bytesOf(handle, maxBytes)).toString('utf8');

/** All of a file, however long it says it is. @throws NotPlain when it is longer than the limit, in bytes */
export async function bytesOf(handle: FileHandle, maxBytes: number): Promise<Buffer> {
  const { size } = await handle.stat();
  if (size > maxBytes) throw new NotPlain(tooLarge(maxBytes));
  const parts: Buffer[] = [];
  for (let length = 0; ; ) {
    const { buffer, bytesRead } = await handle.read(Buffer.allocUnsafe(Math.min(CHUNK_BYTES, maxBytes + 1)), 0);
    if (bytesRead === 0) return Buffer.concat(parts);
    length += bytesRead;
    if (length > maxBytes) throw new NotPlain(tooLarge(maxBytes));
    parts.push(buffer.subarray(0, bytesRead));
  }
}

/** sha256 in hex. @throws NotPlain when it is longer than the limit, in bytes */
export async function digestBounded(handle: FileHandle, maxBytes: number): Promise<string> {
  if ((await handle.stat()).size > maxBytes) throw new NotPlain(tooLarge(maxBytes));
  const hash = createHash('sha256');
  for await (const chunk of handle.createReadStream({ autoClose: false, end: maxBytes })) hash.update(chunk as Buffer);
  return hash.digest('hex');
}
