// Not node:fs/promises: what it loads takes 5 of the 60 ms that `agent status` may take, and nothing runs beside this.
import { closeSync, constants, fstatSync, openSync, readSync } from 'node:fs';
import { AgentError } from '../../domain/errors/errors.ts';
import { INPUT_LIMITS, tooLarge } from '../../domain/files/foreign.ts';

const CHUNK_BYTES = 64 * 1024;

/**
 * Text of a file that somebody named. A pipe is not waited for, a device is not read, and nothing is held in memory that is larger
 * than any file of its kind.
 * @param maxBytes what is longer is refused
 * @throws AgentError FILE_UNREADABLE for what is no plain file or too large; else as the file system does (ENOENT, EACCES)
 */
export function plainText(path: string, maxBytes: number = INPUT_LIMITS.instructions): string {
  const refused = (why: string): AgentError => new AgentError('FILE_UNREADABLE', `${path} cannot be read: ${why}`, { details: { path } });
  const file = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK);
  try {
    const facts = fstatSync(file);
    if (!facts.isFile())
      throw refused(facts.isDirectory() ? 'it is a directory' : `it is a ${facts.isFIFO() ? 'named pipe' : 'device'}, not a file`);
    if (facts.size > maxBytes) throw refused(tooLarge(maxBytes));
    const parts: Buffer[] = [];
    // However long it says it is: files of /proc say 0.
    for (let length = 0; ; ) {
      const part = Buffer.allocUnsafe(Math.min(CHUNK_BYTES, maxBytes + 1));
      const read = readSync(file, part);
      if (read === 0) return Buffer.concat(parts).toString('utf8');
      length += read;
      if (length > maxBytes) throw refused(tooLarge(maxBytes));
      parts.push(part.subarray(0, read));
    }
  } finally {
    closeSync(file);
  }
}
