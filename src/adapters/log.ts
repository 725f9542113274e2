import { closeSync, fstatSync, openSync, renameSync, writeSync } from 'node:fs';
import type { Logger } from '../ports.ts';

export interface LogOptions {
  readonly level: 'debug' | 'info' | 'warn' | 'error';
  readonly file: string;
  readonly maxFileMb: number;
  /** Readable lines on stderr beside the file. */
  readonly stderr: boolean;
}

const REDACTED = ['token', 'authorization', 'password', 'secret', 'key', '*.token', '*.authorization', '*.password', '*.secret', '*.key'];
const LEVEL_NAMES: Readonly<Record<number, string>> = { 20: 'debug', 30: 'info', 40: 'warn', 50: 'error' };

/** The developer's record: JSON lines through pino in a file of bounded size (one older file is kept). */
export async function createLogger(options: LogOptions): Promise<{ readonly log: Logger; readonly flush: () => void }> {
  const { pino } = await import('pino');
  const file = rotatingFile(options.file, options.maxFileMb * 1024 * 1024);
  const destination = {
    write: (line: string): void => {
      file.write(line);
      if (options.stderr) process.stderr.write(readable(line));
    },
  };
  const log = pino(
    { level: options.level, base: null, timestamp: pino.stdTimeFunctions.isoTime, redact: { paths: REDACTED, censor: '***' } },
    destination,
  );
  return { log: wrap(log), flush: file.close };
}

interface PinoLike {
  debug(facts: object, message: string): void;
  info(facts: object, message: string): void;
  warn(facts: object, message: string): void;
  error(facts: object, message: string): void;
  child(facts: object): PinoLike;
}

const wrap = (log: PinoLike): Logger => ({
  debug: (facts, message) => log.debug(facts, message),
  info: (facts, message) => log.info(facts, message),
  warn: (facts, message) => log.warn(facts, message),
  error: (facts, message) => log.error(facts, message),
  child: (facts) => wrap(log.child(facts)),
});

function rotatingFile(path: string, maxBytes: number): { readonly write: (line: string) => void; readonly close: () => void } {
  let descriptor: number | null = openSync(path, 'a', 0o640);
  let size = fstatSync(descriptor).size;
  return {
    write: (line) => {
      if (descriptor === null) return;
      try {
        if (size > maxBytes) {
          closeSync(descriptor);
          renameSync(path, `${path}.1`);
          descriptor = openSync(path, 'a', 0o640);
          size = 0;
        }
        size += writeSync(descriptor, line);
      } catch {
        // A full disk must not end the agent; stderr still has the line.
      }
    },
    close: () => {
      if (descriptor !== null) closeSync(descriptor);
      descriptor = null;
    },
  };
}

/** `12:00:01 warn  message  name=value`, from a JSON line. */
function readable(line: string): string {
  try {
    const { time, level, msg, ...facts } = JSON.parse(line) as { time: string; level: number; msg: string } & Record<string, unknown>;
    const rest = Object.entries(facts)
      .filter(([, value]) => value !== null && typeof value !== 'object')
      .map(([name, value]) => `${name}=${String(value)}`);
    return `${time.slice(11, 19)} ${(LEVEL_NAMES[level] ?? '').padEnd(5)} ${msg}${rest.length === 0 ? '' : `  ${rest.join(' ')}`}\n`;
  } catch {
    return line;
  }
}
