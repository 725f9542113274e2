import { closeSync, fstatSync, ftruncateSync, openSync, readSync, statSync, writeSync } from 'node:fs';
import { appendFile, type FileHandle, open, rename, rm } from 'node:fs/promises';
import type { LogBounds, LogGrowth, LogWatch } from '../../domain/upkeep/upkeep.ts';
import { isAbsent } from '../files/errors.ts';

const LOOK_MS = 50;
/** While a log grows so fast that it may pass its bound before the next look. */
const HURRIED_LOOK_MS = 20;
/** A log that fills up more often is a flood: what was written before it is worth more than the flood. */
const ROTATE_EVERY_MS = 60_000;
const RATE_WINDOW_MS = 5_000;
const SAMPLE_EVERY_MS = 250;
const CHUNK_BYTES = 1024 * 1024;
/** What came while the file was copied is still copied, up to this much. */
const CATCH_UP_BYTES = 64 * 1024;
/** Of its bound: at this size a log is cut although its copy is not made yet. */
const OVERTAKEN_AT = 1.3;
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
  /** It grew so fast meanwhile that it was cut before the copy was made. */
  overtaken: boolean;
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
  if (size === null) return false;
  if (known !== undefined && known.rotation !== null) {
    // A copy may be slow (a busy disk): the log does not wait for it.
    if (size > maxBytes * OVERTAKEN_AT) {
      known.overtaken = true;
      const cut = tryCut(path);
      known.cutBytes += cut?.lost ?? 0;
      known.written += cut?.before ?? 0;
    }
    return true;
  }
  const now = performance.now();
  const track = known ?? newTrack(size, now);
  tracks.set(path, track);
  const grown = size >= track.size ? size - track.size : size;
  note(track, now, grown);
  track.size = size;
  const isFlood = now - track.rotatedAt < ROTATE_EVERY_MS;
  // Of a flood half is enough, and leaves room for what comes while the machine is too busy to look.
  if (size < (isFlood ? maxBytes / 2 : maxBytes)) return grown > maxBytes / 16;
  if (!isFlood) track.rotatedAt = now;
  if (isFlood) {
    const cut = tryCut(path);
    track.cutBytes += cut?.lost ?? 0;
    track.size = cut?.after ?? size;
    return true;
  }
  track.overtaken = false;
  track.rotation = rotate(path, maxBytes, keepFiles, () => track.overtaken)
    .then(
      (cut) => {
        if (!track.overtaken) note(track, performance.now(), Math.max(0, cut.before - size));
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

function tryCut(path: string): Cut | null {
  try {
    return cutFlood(path);
  } catch {
    return null;
  }
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
  overtaken: false,
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

async function rotate(path: string, maxBytes: number, keepFiles: number, isOvertaken: () => boolean): Promise<Cut> {
  await rm(`${path}.${keepFiles}`, { force: true });
  for (let index = keepFiles - 1; index >= 1; index -= 1) await renameIfThere(`${path}.${index}`, `${path}.${index + 1}`);
  const source = await open(path, 'r+');
  const part = `${path}.1.part`;
  try {
    const target = await open(part, 'w', (await source.stat()).mode & 0o777);
    let cut: Cut;
    try {
      const copied = await copy(source, target, maxBytes + CHUNK_BYTES, isOvertaken);
      cut = catchUpAndTruncate(source.fd, target.fd, copied, isOvertaken());
    } finally {
      await target.close();
    }
    await rename(part, `${path}.1`);
    return cut;
  } catch (error) {
    // A full disk has no room for a copy; its room is what the log must give.
    await rm(part, { force: true });
    const cut = tryCut(path);
    if (cut === null) throw error;
    return cut;
  } finally {
    await source.close();
  }
}

/** @returns how much was copied: up to the end as far as it can be caught up with, or to the limit */
async function copy(source: FileHandle, target: FileHandle, limit: number, isOvertaken: () => boolean): Promise<number> {
  const buffer = Buffer.allocUnsafe(CHUNK_BYTES);
  let copied = 0;
  while (copied < limit && !isOvertaken()) {
    const { bytesRead } = await source.read(buffer, 0, Math.min(CHUNK_BYTES, limit - copied), copied);
    if (bytesRead === 0 || isOvertaken()) break;
    await target.write(buffer, 0, bytesRead);
    copied += bytesRead;
  }
  return copied;
}

/** Without a wait: nothing of this program comes between the last read and the truncation. */
function catchUpAndTruncate(source: number, target: number, from: number, isCut: boolean): Cut {
  const { size: seen } = fstatSync(source);
  if (isCut) return { before: seen, after: seen, lost: 0 };
  const buffer = Buffer.allocUnsafe(CATCH_UP_BYTES);
  const bytesRead = readSync(source, buffer, 0, buffer.length, from);
  if (bytesRead > 0) writeSync(target, buffer, 0, bytesRead);
  const { size } = fstatSync(source);
  ftruncateSync(source, 0);
  return { before: size, after: 0, lost: Math.max(0, size - from - bytesRead) };
}

/** Truncates at once, and puts the newest part back behind what came meanwhile. */
function cutFlood(path: string): Cut {
  const file = openSync(path, 'a+');
  try {
    const { size } = fstatSync(file);
    const tail = Buffer.allocUnsafe(Math.min(size, KEPT_OF_FLOOD_BYTES));
    const read = readSync(file, tail, 0, tail.length, size - tail.length);
    ftruncateSync(file, 0);
    const newest = tail.subarray(0, read);
    const from = newest.indexOf(0x0a) + 1;
    const lost = size - read + from;
    const text = Buffer.concat([Buffer.from(`[agent] ${lost} bytes of a log flood were cut here\n`), newest.subarray(from)]);
    // Not waited for: a busy disk must not hold up anything. On a full one the whole flood is gone.
    void appendFile(path, text).catch(() => undefined);
    return { before: size, after: 0, lost };
  } finally {
    closeSync(file);
  }
}

async function renameIfThere(from: string, to: string): Promise<void> {
  try {
    await rename(from, to);
  } catch (error) {
    if (!isAbsent(error)) throw error;
  }
}
