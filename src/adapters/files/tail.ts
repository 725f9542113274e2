import { type FileHandle, stat } from 'node:fs/promises';
import { setTimeout as pause } from 'node:timers/promises';
import { isAbsent, readFault } from './errors.ts';
import { openPlain } from './foreign/plain-file.ts';

const CHUNK_BYTES = 64 * 1024;
/** Of a huge log only this much from the end is looked through for the first lines. */
const LOOKBACK_BYTES = 8 * 1024 * 1024;
const POLL_MS = 200;
/** Long enough that two places of a log hardly agree in it. */
const FINGERPRINT_BYTES = 256;
/** Characters; a longer line is handed on in parts. */
const LINE_LIMIT = 64 * 1024;

/**
 * The last lines, then each new one as soon as it is whole; `\n`, `\r\n` and `\r` end one. Looks a few times a second and
 * holds the file open, so that neither rename nor copy and truncation (log rotation) lose a line; a file that is not there
 * yet is waited for when following. Memory is bounded. Ends when the signal is aborted. @throws AgentError FILE_UNREADABLE
 */
export async function* tailFile(
  path: string,
  options: { readonly lines: number; readonly follow: boolean },
  signal: AbortSignal,
): AsyncGenerator<string> {
  let source = await openSource(path);
  try {
    if (source !== null) {
      const last = await source.seekLast(options.lines);
      const shown = options.follow ? last : [...last, ...source.remainder()];
      const missing = options.lines - shown.length;
      if (missing > 0) yield* await endOf(`${path}.1`, missing);
      if (options.lines > 0) yield* shown.slice(-options.lines);
    }
    while (options.follow && !signal.aborted) {
      source ??= await openSource(path);
      if (source !== null) {
        yield* source.unread(signal);
        if (await source.isReplaced()) {
          // What came between the last look and the rotation is in the old file still.
          yield* source.unread(signal);
          yield* source.remainder();
          await source.close();
          source = null;
          continue;
        }
      }
      await pause(POLL_MS, undefined, { signal }).catch(() => undefined);
    }
  } finally {
    await source?.close();
  }
}

/** Of the file before the last rotation, when there is one. */
async function endOf(path: string, lines: number): Promise<readonly string[]> {
  const source = await openSource(path).catch(() => null);
  if (source === null) return [];
  try {
    return [...(await source.seekLast(lines)), ...source.remainder()].slice(-lines);
  } finally {
    await source.close();
  }
}

async function openSource(path: string): Promise<Source | null> {
  try {
    const handle = await openPlain(path);
    return new Source(path, handle, (await handle.stat()).ino);
  } catch (error) {
    if (isAbsent(error)) return null;
    throw readFault(error, path);
  }
}

/** An open file and how far it was read. */
class Source {
  readonly #path: string;
  readonly #handle: FileHandle;
  /** Cannot be given to another file while this one is open. */
  readonly #inode: number;
  readonly #buffer = Buffer.alloc(CHUNK_BYTES);
  #decoder = new TextDecoder();
  #position = 0;
  #rest = '';
  /** The bytes before the position, by which a truncated file that has grown again is told. */
  #before = Buffer.alloc(0);

  constructor(path: string, handle: FileHandle, inode: number) {
    this.#path = path;
    this.#handle = handle;
    this.#inode = inode;
  }

  /** Reads backwards until enough line ends were seen; reading goes on at the end of the file. */
  async seekLast(wanted: number): Promise<readonly string[]> {
    const { size } = await this.#handle.stat();
    this.#position = size;
    this.#remember((await this.#read(Math.max(0, size - FINGERPRINT_BYTES), Math.min(size, FINGERPRINT_BYTES))).bytesRead);
    if (wanted <= 0) return [];
    const chunks: Buffer[] = [];
    let from = size;
    let ends = 0;
    while (from > 0 && size - from < LOOKBACK_BYTES && ends <= wanted) {
      const length = Math.min(CHUNK_BYTES, from);
      const { bytesRead } = await this.#read(from - length, length);
      const chunk = Buffer.from(this.#buffer.subarray(0, bytesRead));
      for (const byte of chunk) if (byte === 0x0a) ends += 1;
      chunks.unshift(chunk);
      from -= length;
    }
    const lines = this.#split(this.#decoder.decode(Buffer.concat(chunks), { stream: true }));
    // The first is only the end of a line, unless it is the first of the file.
    return (from > 0 ? lines.slice(1) : lines).slice(-wanted);
  }

  /** Whole lines up to the end of the file. */
  async *unread(signal: AbortSignal): AsyncGenerator<string> {
    if (await this.#isTruncated()) {
      yield* this.#rotatedRest();
      this.#position = 0;
      this.#rest = '';
      this.#decoder = new TextDecoder();
    }
    while (!signal.aborted) {
      const { bytesRead } = await this.#read(this.#position, CHUNK_BYTES);
      if (bytesRead === 0) return;
      this.#position += bytesRead;
      this.#remember(bytesRead);
      yield* this.#split(this.#decoder.decode(this.#buffer.subarray(0, bytesRead), { stream: true }));
      if (this.#rest.length > LINE_LIMIT) yield* this.remainder();
    }
  }

  async #isTruncated(): Promise<boolean> {
    if ((await this.#handle.stat()).size < this.#position) return true;
    if (this.#before.length === 0) return false;
    const { bytesRead } = await this.#read(this.#position - this.#before.length, this.#before.length);
    return !this.#buffer.subarray(0, bytesRead).equals(this.#before);
  }

  /** What came between the last look and the truncation, when a copy of the file was made before it (log rotation). */
  async *#rotatedRest(): AsyncGenerator<string> {
    const copy = await openPlain(`${this.#path}.1`).catch(() => null);
    if (copy === null) return;
    try {
      const { length } = this.#before;
      const known = Buffer.alloc(length);
      const { bytesRead } = await copy.read(known, 0, length, this.#position - length);
      // Another file, or one of an earlier rotation.
      if (length === 0 || !known.subarray(0, bytesRead).equals(this.#before)) return;
      for (let position = this.#position; ; ) {
        const { bytesRead: more } = await copy.read(this.#buffer, 0, CHUNK_BYTES, position);
        if (more === 0) break;
        position += more;
        yield* this.#split(this.#decoder.decode(this.#buffer.subarray(0, more), { stream: true }));
      }
      yield* this.remainder();
    } catch {
      // Rotated once more meanwhile: these lines are gone.
    } finally {
      await copy.close();
    }
  }

  /** Of what is in the buffer, the end. */
  #remember(bytesRead: number): void {
    const chunk = this.#buffer.subarray(Math.max(0, bytesRead - FINGERPRINT_BYTES), bytesRead);
    this.#before = Buffer.concat([this.#before, chunk]).subarray(-FINGERPRINT_BYTES);
  }

  /** The last line, when it has no end. */
  remainder(): readonly string[] {
    const line = this.#rest.replace(/\r$/, '');
    this.#rest = '';
    return line === '' ? [] : [line];
  }

  /** Another file has the name now. A name that nothing has (yet) is no reason to leave this one. */
  async isReplaced(): Promise<boolean> {
    try {
      return (await stat(this.#path)).ino !== this.#inode;
    } catch {
      return false;
    }
  }

  close(): Promise<void> {
    return this.#handle.close();
  }

  async #read(position: number, length: number): Promise<{ readonly bytesRead: number }> {
    try {
      return await this.#handle.read(this.#buffer, 0, length, position);
    } catch (error) {
      throw readFault(error, this.#path);
    }
  }

  /** A `\r` that is last waits: a `\n` may follow. */
  #split(text: string): string[] {
    const whole = this.#rest + text;
    const held = whole.endsWith('\r') ? 1 : 0;
    const parts = whole.slice(0, whole.length - held).split(/\r\n|\n|\r/);
    this.#rest = (parts.pop() ?? '') + (held === 1 ? '\r' : '');
    return parts;
  }
}
