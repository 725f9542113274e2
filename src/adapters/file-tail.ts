import { type FileHandle, open, stat } from 'node:fs/promises';
import { setTimeout as pause } from 'node:timers/promises';

const CHUNK_BYTES = 64 * 1024;
/** Of a huge log only this much from the end is looked through for the first lines. */
const LOOKBACK_BYTES = 8 * 1024 * 1024;
const POLL_MS = 200;
const LINE_LIMIT = 64 * 1024;

/**
 * The last lines, then each new one. Looks at size and inode a few times a second, so that truncation and rename (log
 * rotation) are survived; a file that is not there yet is waited for when following.
 */
export async function* tailFile(
  path: string,
  options: { readonly lines: number; readonly follow: boolean },
  signal: AbortSignal,
): AsyncIterable<string> {
  let position = 0;
  let inode: number | null = null;
  let rest = '';
  const first = await facts(path);
  if (first !== null) {
    inode = first.inode;
    const { lines, end, partial } = await lastLines(path, first.size, options.lines);
    yield* lines;
    position = end;
    rest = partial;
  }
  if (!options.follow) {
    if (rest !== '') yield rest;
    return;
  }
  while (!signal.aborted) {
    const now = await facts(path);
    if (now !== null) {
      if (now.inode !== inode || now.size < position) {
        // Rotated or truncated: begin anew with the new content.
        position = 0;
        rest = '';
        inode = now.inode;
      }
      while (position < now.size && !signal.aborted) {
        const { text, bytes } = await readAt(path, position, Math.min(CHUNK_BYTES, now.size - position));
        if (bytes === 0) break;
        position += bytes;
        const parts = (rest + text).split(/\r\n|\n|\r/);
        rest = (parts.pop() ?? '').slice(-LINE_LIMIT);
        yield* parts;
      }
    }
    await pause(POLL_MS, undefined, { signal }).catch(() => undefined);
  }
}

async function facts(path: string): Promise<{ readonly inode: number; readonly size: number } | null> {
  try {
    const { ino, size } = await stat(path);
    return { inode: ino, size };
  } catch {
    return null;
  }
}

/** Reads backwards until enough line ends were seen. */
async function lastLines(
  path: string,
  size: number,
  wanted: number,
): Promise<{ readonly lines: readonly string[]; readonly end: number; readonly partial: string }> {
  if (wanted <= 0) return { lines: [], end: size, partial: '' };
  const handle = await open(path, 'r');
  try {
    let from = size;
    let buffer = Buffer.alloc(0);
    while (from > 0 && size - from < LOOKBACK_BYTES && lineEnds(buffer) <= wanted) {
      const length = Math.min(CHUNK_BYTES, from);
      from -= length;
      buffer = Buffer.concat([await readFully(handle, from, length), buffer]);
    }
    const parts = buffer.toString('utf8').split(/\r\n|\n|\r/);
    const partial = parts.pop() ?? '';
    return { lines: parts.slice(-wanted), end: size, partial };
  } finally {
    await handle.close();
  }
}

function lineEnds(buffer: Buffer): number {
  let count = 0;
  for (const byte of buffer) if (byte === 0x0a) count += 1;
  return count;
}

async function readAt(path: string, position: number, length: number): Promise<{ readonly text: string; readonly bytes: number }> {
  const handle = await open(path, 'r');
  try {
    const buffer = await readFully(handle, position, length);
    return { text: buffer.toString('utf8'), bytes: buffer.length };
  } finally {
    await handle.close();
  }
}

async function readFully(handle: FileHandle, position: number, length: number): Promise<Buffer> {
  const buffer = Buffer.alloc(length);
  const { bytesRead } = await handle.read(buffer, 0, length, position);
  return buffer.subarray(0, bytesRead);
}
