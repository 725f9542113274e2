import { closeSync, fstatSync, ftruncateSync, openSync, readSync, statSync, writeSync } from 'node:fs';
import { type FileHandle, open, rename, rm } from 'node:fs/promises';
import type { LogBounds, LogGrowth, LogWatch } from '../domain/upkeep.ts';
import { isAbsent } from './file-errors.ts';

const LOOK_MS = 50;
/** While a log grows so fast that it may pass its bound before the next look. */
const HURRIED_LOOK_MS = 20;
/** A log that fills up more often is a flood: what was written before it is worth more than the flood. */
const ROTATE_EVERY_MS = 60_000;
const RATE_WINDOW_MS = 5_000;
const SAMPLE_EVERY_MS = 250;
const CHUNK_BYTES = 1024 * 1024;
/** What came while the file was copied is still copied, up to this much. */
const CATCH_UP_BYTES = 1024 * 1024;
/** The newest part of a flood that stays. */
const KEPT_OF_FLOOD_BYTES = 256 * 1024;

interface Track {
  size: number;
  /** Written since the watch began, at moments of the last seconds. */
  samples: { readonly at: number; readonly written: number }[];
  lookedAt: number;
  written: number;
  cutBytes: number;
  rotatedAt: number;
  /** Its rotation is under way. */
  rotation: Promise<void> | null;
}

/**
 * Bounds for logs whose writers keep them open (O_APPEND): a full one is copied to `<path>.1` and truncated. Between the last
 * byte copied and the truncation there is no wait, so that hardly a line can be lost. A log that fills up again within a
 * minute is a flood: the files from before it stay, and of the flood only the newest part is kept.
 */
export function keepLogs(bounds: () => LogBounds): LogWatch {
  const tracks = new Map<string, Track>();
  let timer: NodeJS.Timeout | null = null;
  let closed = false;

  const arm = (hurried: boolean): void => {
    if (closed) return;
    timer = setTimeout(() => arm(lookAtAll()), hurried ? HURRIED_LOOK_MS : LOOK_MS);
    timer.unref();
  };

  /** @returns whether the next look is urgent */
  const lookAtAll = (): boolean => {
    const wanted = bounds();
    for (const [path, track] of tracks) if (track.rotation === null && !wanted.logs.includes(path)) tracks.delete(path);
    return wanted.logs.map((path) => lookAt(tracks, path, wanted)).includes(true);
  };

  arm(false);
  return {
    growth: (path): LogGrowth | null => {
      const track = tracks.get(path);
      const [first] = track?.samples ?? [];
      if (track === undefined || first === undefined || track.lookedAt - first.at < RATE_WINDOW_MS / 2) return null;
      return { bytesPerSecond: ((track.written - first.written) * 1_000) / (track.lookedAt - first.at), cutBytes: track.cutBytes };
    },
    close: async () => {
      closed = true;
      if (timer !== null) clearTimeout(timer);
      await Promise.all([...tracks.values()].map((track) => track.rotation));
    },
  };
}

/** One look at one log. @returns whether it grows so fast that the next look is urgent */
function lookAt(tracks: Map<string, Track>, path: string, { maxBytes, keepFiles }: LogBounds): boolean {
  const size = sizeOf(path);
  const known = tracks.get(path);
  // Sizes mean nothing while it is being cut.
  if (size === null || (known !== undefined && known.rotation !== null)) return known !== undefined;
  const now = performance.now();
  const track = known ?? newTrack(size, now);
  tracks.set(path, track);
  const grown = size >= track.size ? size - track.size : size;
  note(track, now, grown);
  track.size = size;
  if (size < maxBytes) return grown > maxBytes / 16;
  const isFlood = now - track.rotatedAt < ROTATE_EVERY_MS;
  if (!isFlood) track.rotatedAt = now;
  track.rotation = (isFlood ? cutFlood(path) : rotate(path, maxBytes, keepFiles))
    .then(
      (cut) => {
        note(track, performance.now(), Math.max(0, cut.before - size));
        track.cutBytes += cut.lost;
        track.size = cut.after;
      },
      // It cannot be cut; the next look tries again.
      () => undefined,
    )
    .finally(() => {
      track.rotation = null;
    });
  return true;
}

/** Asked without the thread pool: a few microseconds, and never behind a slow copy. */
function sizeOf(path: string): number | null {
  try {
    const facts = statSync(path, { throwIfNoEntry: false });
    return facts?.isFile() === true ? facts.size : null;
  } catch {
    return null;
  }
}

const newTrack = (size: number, now: number): Track => ({
  size,
  samples: [],
  lookedAt: now,
  written: 0,
  cutBytes: 0,
  rotatedAt: Number.NEGATIVE_INFINITY,
  rotation: null,
});

function note(track: Track, now: number, bytes: number): void {
  track.written += bytes;
  track.lookedAt = now;
  const last = track.samples.at(-1);
  if (last === undefined || now - last.at >= SAMPLE_EVERY_MS) track.samples.push({ at: now, written: track.written });
  while ((track.samples[1]?.at ?? now) <= now - RATE_WINDOW_MS) track.samples.shift();
}

/** What a truncation did, in bytes. */
interface Cut {
  /** Size at the moment of it. */
  readonly before: number;
  readonly after: number;
  /** In no file any more. */
  readonly lost: number;
}

async function rotate(path: string, maxBytes: number, keepFiles: number): Promise<Cut> {
  await rm(`${path}.${keepFiles}`, { force: true });
  for (let index = keepFiles - 1; index >= 1; index -= 1) await renameIfThere(`${path}.${index}`, `${path}.${index + 1}`);
  const source = await open(path, 'r+');
  const part = `${path}.1.part`;
  try {
    const target = await open(part, 'w', (await source.stat()).mode & 0o777);
    let cut: Cut;
    try {
      cut = catchUpAndTruncate(source.fd, target.fd, await copy(source, target, maxBytes));
    } finally {
      await target.close();
    }
    await rename(part, `${path}.1`);
    return cut;
  } catch (error) {
    // A full disk has no room for a copy; its room is what the log must give.
    await rm(part, { force: true });
    return await cutFlood(path).catch(() => {
      throw error;
    });
  } finally {
    await source.close();
  }
}

async function copy(source: FileHandle, target: FileHandle, limit: number): Promise<number> {
  const buffer = Buffer.allocUnsafe(CHUNK_BYTES);
  let copied = 0;
  while (copied < limit) {
    const { bytesRead } = await source.read(buffer, 0, Math.min(CHUNK_BYTES, limit - copied), copied);
    if (bytesRead === 0) break;
    await target.write(buffer, 0, bytesRead);
    copied += bytesRead;
  }
  return copied;
}

/** Without a wait: nothing of this program comes between the last read and the truncation. */
function catchUpAndTruncate(source: number, target: number, from: number): Cut {
  const buffer = Buffer.allocUnsafe(CHUNK_BYTES);
  let copied = from;
  while (copied < from + CATCH_UP_BYTES) {
    const bytesRead = readSync(source, buffer, 0, buffer.length, copied);
    if (bytesRead === 0) break;
    writeSync(target, buffer, 0, bytesRead);
    copied += bytesRead;
  }
  const { size } = fstatSync(source);
  ftruncateSync(source, 0);
  return { before: size, after: 0, lost: Math.max(0, size - copied) };
}

async function cutFlood(path: string): Promise<Cut> {
  const file = openSync(path, 'a+');
  try {
    const { size } = fstatSync(file);
    const tail = Buffer.allocUnsafe(Math.min(size, KEPT_OF_FLOOD_BYTES));
    const read = readSync(file, tail, 0, tail.length, size - tail.length);
    ftruncateSync(file, 0);
    const newest = tail.subarray(0, read);
    const from = newest.indexOf(0x0a) + 1;
    const text = Buffer.concat([Buffer.from(`[agent] ${size - read + from} bytes of a log flood were cut here\n`), newest.subarray(from)]);
    // The disk may be full: then the whole flood is gone.
    const written = tryWrite(file, text);
    return { before: size, after: written, lost: size - read + from };
  } finally {
    closeSync(file);
  }
}

function tryWrite(file: number, text: Buffer): number {
  try {
    return writeSync(file, text);
  } catch {
    return 0;
  }
}

async function renameIfThere(from: string, to: string): Promise<void> {
  try {
    await rename(from, to);
  } catch (error) {
    if (!isAbsent(error)) throw error;
  }
}
