import { closeSync, existsSync, fstatSync, fsyncSync, openSync, renameSync, writeSync } from 'node:fs';
import { isOfTheDisk } from '../../domain/errors/no-room.ts';
import { isAbsent, writeFault } from '../files/errors.ts';

const MODE = 0o640;

export interface RotatingFile {
  /** Never throws: a full disk must not end the agent. What could not be written is lost. */
  write(line: string): void;
  /** Everything written so far is on the disk. */
  flush(): void;
}

/**
 * Appends to a file; before it would grow past `maxBytes` it is renamed to `<path>.1` and begun anew; `keepFiles` older ones stay.
 * A disk that takes nothing is tried again with each line. @throws AgentError ROOT_NOT_WRITABLE when it cannot be opened for another reason
 */
export function openRotatingFile(path: string, maxBytes: number, keepFiles = 1): RotatingFile {
  /** null while it could not be opened again: tried with each line. */
  let descriptor: number | null;
  let size = 0;
  const open = (): number => {
    const opened = openSync(path, 'a', MODE);
    size = fstatSync(opened).size;
    return opened;
  };
  const rotate = (current: number): void => {
    descriptor = null;
    closeSync(current);
    try {
      for (let index = keepFiles - 1; index >= 1; index -= 1)
        if (existsSync(`${path}.${index}`)) renameSync(`${path}.${index}`, `${path}.${index + 1}`);
      renameSync(path, `${path}.1`);
    } finally {
      descriptor = open();
    }
  };
  try {
    descriptor = open();
  } catch (error) {
    const fault = writeFault(error, path);
    // Where its directory is not there, the disk took none.
    if (!isOfTheDisk(fault) && !isAbsent(error)) throw fault;
    descriptor = null;
  }
  return {
    write: (line) => {
      try {
        descriptor ??= open();
        if (size > 0 && size + Buffer.byteLength(line) > maxBytes) rotate(descriptor);
      } catch {
        // It cannot be rotated: growing on is better than losing lines.
      }
      try {
        if (descriptor !== null) size += writeSync(descriptor, line);
      } catch {
        // The disk is full.
      }
    },
    flush: () => {
      try {
        if (descriptor !== null) fsyncSync(descriptor);
      } catch {
        // Not every filesystem can.
      }
    },
  };
}
