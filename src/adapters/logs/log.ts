import type { Logger } from '../../ports/logs.ts';
import { openRotatingFile } from './file.ts';

export interface LogOptions {
  readonly level: 'debug' | 'info' | 'warn' | 'error';
  readonly file: string;
  readonly maxFileMb: number;
  readonly keepFiles: number;
  /** Readable lines on stderr beside the file. */
  readonly stderr: boolean;
}

/** Names whose values are never written, at any depth: `token`, `AGENT_TOKEN`, `apiKey`, … */
const SECRET_NAME = /(?:token|authorization|password|secret|key)$/i;
const CENSOR = '***';
const DEPTH_LIMIT = 8;
const LEVEL_NAMES: Readonly<Record<number, string>> = { 20: 'debug', 30: 'info', 40: 'warn', 50: 'error' };

/**
 * The developer's record: JSON lines through pino in a file of bounded size, with a few older ones. `flush` brings what
 * was logged to the disk. @throws AgentError ROOT_NOT_WRITABLE
 */
export async function createLogger(options: LogOptions): Promise<{ readonly log: Logger; readonly flush: () => void }> {
  const { pino } = await import('pino');
  const file = openRotatingFile(options.file, options.maxFileMb * 1024 * 1024, options.keepFiles);
  const destination = {
    write: (line: string): void => {
      file.write(line);
      if (options.stderr) process.stderr.write(readable(line));
    },
  };
  const log = pino({ level: options.level, base: null, timestamp: pino.stdTimeFunctions.isoTime }, destination);
  return { log: wrap(log, log.levels.values), flush: file.flush };
}

type Level = LogOptions['level'];

interface PinoLike extends Record<Level, (facts: object, message: string) => void> {
  readonly levelVal: number;
  child(facts: object): PinoLike;
}

function wrap(log: PinoLike, levels: Readonly<Record<string, number>>): Logger {
  const write =
    (level: Level) =>
    (facts: object, message: string): void => {
      if ((levels[level] ?? 0) >= log.levelVal) log[level](withoutSecrets(facts), message);
    };
  return {
    debug: write('debug'),
    info: write('info'),
    warn: write('warn'),
    error: write('error'),
    child: (facts) => wrap(log.child(withoutSecrets(facts)), levels),
  };
}

const withoutSecrets = (facts: object): object => copied(facts, 0) as object;

/** A copy for JSON: secrets are masked, errors keep type, code, message and stack. */
function copied(value: unknown, depth: number): unknown {
  if (value instanceof Error) {
    const { name, message, stack, cause } = value;
    const code = (value as { code?: unknown }).code;
    return { type: name, code, message, stack, ...(cause instanceof Error ? { cause: cause.message } : {}) };
  }
  if (typeof value !== 'object' || value === null || value instanceof Date || ArrayBuffer.isView(value)) return value;
  if (depth >= DEPTH_LIMIT) return '…';
  if (Array.isArray(value)) return value.map((each) => copied(each, depth + 1));
  return Object.fromEntries(
    Object.entries(value).map(([name, each]) => [
      name,
      SECRET_NAME.test(name) && each !== null && each !== undefined ? CENSOR : copied(each, depth + 1),
    ]),
  );
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
