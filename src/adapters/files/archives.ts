/** Archives of plain files, written and read as streams: the port `Archives`. */
import { createHash, randomUUID } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { type FileHandle, link, open, rm, stat } from 'node:fs/promises';
import { AgentError, asAgentError, isAgentError } from '../../domain/errors/errors.ts';
import { readTarHeader, TAR_BLOCK, type TarHeader, tarHeader, tarPadding } from '../../domain/files/tar.ts';
import type { Archives } from '../../ports/archives.ts';

const CHUNK = 1024 * 1024;

export interface ArchivesOptions {
  readonly now?: () => number;
  /** Of extracted files; default 0600. */
  readonly mode?: number;
}

export function createArchives({ now = Date.now, mode = 0o600 }: ArchivesOptions = {}): Archives {
  return {
    create: async (file, index, files, { signal, onProgress } = {}) => {
      const partial = `${file}.${randomUUID()}.part`;
      try {
        const handle = await open(partial, 'wx', 0o600);
        try {
          const write = (bytes: Uint8Array): Promise<unknown> => handle.writeFile(bytes);
          const member = async (name: string, sizeBytes: number, content: AsyncIterable<Buffer> | Iterable<Buffer>): Promise<void> => {
            await write(tarHeader(name, sizeBytes, now()));
            let bytes = 0;
            for await (const chunk of content) {
              signal?.throwIfAborted();
              bytes += chunk.length;
              if (bytes > sizeBytes) break;
              await write(chunk);
              onProgress?.(chunk.length);
            }
            if (bytes !== sizeBytes) throw new AgentError('COMMAND_FAILED', `${name} changed while the archive was written`);
            await write(Buffer.alloc(tarPadding(sizeBytes)));
          };
          const text = Buffer.from(index.text, 'utf8');
          await member(index.name, text.length, [text]);
          for (const { name, path } of files) {
            const { size } = await stat(path);
            await member(name, size, createReadStream(path, { highWaterMark: CHUNK }) as AsyncIterable<Buffer>);
          }
          // Two empty blocks end an archive.
          await write(Buffer.alloc(2 * TAR_BLOCK));
          await handle.sync();
        } finally {
          await handle.close();
        }
        // Unlike a rename, a link never takes the place of a file that is there.
        await link(partial, file);
      } catch (error) {
        throw writeError(file, error, signal);
      } finally {
        await rm(partial, { force: true });
      }
    },

    extract: async (file, index, expect, { signal, onProgress } = {}) => {
      const handle = await open(file, 'r').catch((error: unknown) => {
        throw unreadable(file, error);
      });
      try {
        const reader = readerOf(handle, signal);
        const first = await headerOf(reader, index.name);
        if (first === null || first.name !== index.name) throw invalid(`it does not begin with ${index.name}`);
        requireFile(first);
        if (first.sizeBytes > index.maxBytes) throw invalid(`${index.name} is larger than ${index.maxBytes} bytes`);
        const chunks: Buffer[] = [];
        await reader.content(first, async (chunk) => void chunks.push(Buffer.from(chunk)));
        const expected = expect(Buffer.concat(chunks).toString('utf8'));
        const totalBytes = expected.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0);
        let doneBytes = 0;
        for (const { name, path, sizeBytes, sha256 } of expected) {
          const header = await headerOf(reader, name);
          if (header === null) throw invalid(`${name} is missing`);
          if (header.name !== name)
            throw invalid(`it holds ${JSON.stringify(header.name.slice(0, 200))} where ${index.name} has ${name}`, header.name);
          requireFile(header);
          if (header.sizeBytes !== sizeBytes) throw invalid(`${name} has ${header.sizeBytes} bytes in place of ${sizeBytes}`, name);
          const target = await open(path, 'wx', mode);
          const hash = createHash('sha256');
          try {
            await reader.content(header, async (chunk) => {
              hash.update(chunk);
              await target.writeFile(chunk);
              doneBytes += chunk.length;
              onProgress?.(name, doneBytes, totalBytes);
            });
          } finally {
            await target.close();
          }
          const found = hash.digest('hex');
          if (found !== sha256) throw invalid(`${name} has sha256 ${found} in place of ${sha256}`, name);
        }
        const more = await headerOf(reader, 'the blocks that end an archive');
        if (more !== null)
          throw invalid(`it holds ${JSON.stringify(more.name.slice(0, 200))}, which ${index.name} does not name`, more.name);
      } catch (error) {
        if (signal?.aborted) throw new AgentError('INTERRUPTED', `reading ${file} was interrupted`);
        if (isAgentError(error)) throw error.code === 'BUNDLE_INVALID' ? inFile(file, error) : error;
        throw asAgentError(error);
      } finally {
        await handle.close();
      }
    },
  };
}

interface Reader {
  block(): Promise<Buffer | null>;
  content(header: TarHeader, use: (chunk: Uint8Array) => Promise<void>): Promise<void>;
}

function readerOf(handle: FileHandle, signal: AbortSignal | undefined): Reader {
  const buffer = Buffer.alloc(CHUNK);
  /** @returns what there was; shorter only at the end of the file */
  const read = async (length: number): Promise<Buffer> => {
    let filled = 0;
    while (filled < length) {
      const { bytesRead } = await handle.read(buffer, filled, length - filled, null);
      if (bytesRead === 0) break;
      filled += bytesRead;
    }
    return buffer.subarray(0, filled);
  };
  return {
    block: async () => {
      const found = await read(TAR_BLOCK);
      return found.length < TAR_BLOCK ? null : found;
    },
    content: async ({ name, sizeBytes }, use) => {
      for (let left = sizeBytes; left > 0; ) {
        signal?.throwIfAborted();
        const chunk = await read(Math.min(CHUNK, left));
        if (chunk.length < Math.min(CHUNK, left)) throw invalid(`it ends within ${name}`, name);
        left -= chunk.length;
        await use(chunk);
      }
      const padding = tarPadding(sizeBytes);
      if ((await read(padding)).length < padding) throw invalid(`it ends within ${name}`, name);
    },
  };
}

/** null: the end of the archive. */
async function headerOf(reader: Reader, what: string): Promise<TarHeader | null> {
  const block = await reader.block();
  if (block === null) throw invalid(`it ends before ${what}`);
  try {
    return readTarHeader(block);
  } catch (error) {
    throw invalid(`${(error as Error).message} (before ${what})`);
  }
}

function requireFile({ name, type }: TarHeader): void {
  if (type !== '0') throw invalid(`${JSON.stringify(name.slice(0, 200))} is no plain file`, name);
}

const invalid = (why: string, member?: string): AgentError =>
  new AgentError('BUNDLE_INVALID', why, { details: member === undefined ? {} : { member } });

const inFile = (file: string, { message, details, cause }: AgentError): AgentError =>
  new AgentError('BUNDLE_INVALID', `${file}: ${message}`, { details, cause });

function unreadable(file: string, cause: unknown): AgentError {
  const { code } = cause as NodeJS.ErrnoException;
  const why = code === 'ENOENT' ? 'does not exist' : `cannot be read: ${code ?? String(cause)}`;
  return new AgentError('FILE_UNREADABLE', `${file} ${why}`, { help: 'the user that runs the agent must be able to read it', cause });
}

function writeError(file: string, error: unknown, signal: AbortSignal | undefined): AgentError {
  if (signal?.aborted) return new AgentError('INTERRUPTED', `writing ${file} was interrupted`);
  const known = asAgentError(error);
  if (isAgentError(error) || known.code === 'DISK_FULL') return known;
  const { code } = error as NodeJS.ErrnoException;
  return new AgentError(
    'COMMAND_FAILED',
    `${file} could not be written: ${code === 'EEXIST' ? 'it is there already' : (code ?? known.message)}`,
    {
      help: 'name a new file in a directory that the user who runs the agent may write',
      cause: error,
    },
  );
}
