import { access, constants } from 'node:fs/promises';
import { delimiter, join } from 'node:path';
import { AgentError } from '../domain/errors.ts';
import type { CommandOptions, CommandResult, RunningCommand, Shell } from '../ports.ts';

const TAIL_BYTES = 16 * 1024;
const DEFAULT_OUTPUT_BYTES = 4 * 1024 * 1024;
const END_GRACE_MS = 2_000;
/** A line that never ends is cut here. */
const LINE_LIMIT = 64 * 1024;

export interface ShellOptions {
  /** PATH for looking programs up, and for children whose environment is not given. */
  readonly path: string;
}

/** Programs without a shell, each in a process group of its own, so that a limit ends all it started. */
export function createShell({ path }: ShellOptions): Shell {
  const which = async (file: string): Promise<string | null> => {
    const candidates = file.includes('/') ? [file] : path.split(delimiter).map((directory) => join(directory, file));
    for (const candidate of candidates) {
      const isProgram = await access(candidate, constants.X_OK).then(
        () => true,
        () => false,
      );
      if (isProgram) return candidate;
    }
    return null;
  };
  const defaults = { PATH: path, HOME: '/', LANG: 'C.UTF-8' };
  return {
    which,
    spawn: (file, args, options = {}) => start(file, args, { environment: defaults, ...options }),
    run: async (file, args, options = {}) => start(file, args, { environment: defaults, ...options }).finished,
  };
}

function start(file: string, args: readonly string[], options: CommandOptions): RunningCommand {
  const began = performance.now();
  const tail = new Tail();
  const kept: string[] = [];
  let keptBytes = 0;
  let timedOut = false;
  let pid = 0;
  const limit = options.maxOutputBytes ?? DEFAULT_OUTPUT_BYTES;

  const signalGroup = (signal: NodeJS.Signals): void => {
    if (pid <= 1) return;
    try {
      process.kill(-pid, signal);
    } catch {
      // The group has ended.
    }
  };
  const spawned = import('execa').then(({ execa }) => {
    if (options.signal?.aborted) throw new AgentError('INTERRUPTED', `${file} was not started: it was interrupted`);
    // Wrapped, because a subprocess is a promise of its end.
    const child = execa(file, [...args], {
      ...(options.cwd === undefined ? {} : { cwd: options.cwd }),
      env: { ...options.environment },
      extendEnv: false,
      detached: true,
      buffer: false,
      reject: false,
      stripFinalNewline: false,
      ...(options.input === undefined ? { stdin: 'ignore' as const } : { input: options.input }),
    });
    return { child };
  });

  const finished = (async (): Promise<CommandResult> => {
    const { child } = await spawned;
    pid = child.pid ?? 0;
    let heard = performance.now();
    const expire = (): void => {
      timedOut = true;
      signalGroup('SIGTERM');
      setTimeout(() => signalGroup('SIGKILL'), END_GRACE_MS).unref();
    };
    const total = options.timeoutMs === undefined ? null : setTimeout(expire, options.timeoutMs);
    const silenceMs = options.silenceMs;
    const silence =
      silenceMs === undefined ? null : setInterval(() => performance.now() - heard > silenceMs && expire(), Math.max(50, silenceMs / 4));
    const onAbort = (): void => {
      signalGroup('SIGTERM');
      setTimeout(() => signalGroup('SIGKILL'), END_GRACE_MS).unref();
    };
    options.signal?.addEventListener('abort', onAbort, { once: true });
    const read = (stream: 'stdout' | 'stderr'): Lines => {
      const lines = new Lines((line) => options.onLine?.(line, stream));
      child[stream]?.on('data', (chunk: Buffer) => {
        heard = performance.now();
        tail.add(chunk);
        const text = lines.add(chunk);
        if (stream === 'stdout' && keptBytes < limit) {
          kept.push(text);
          keptBytes += chunk.length;
        }
      });
      return lines;
    };
    const readers = [read('stdout'), read('stderr')];
    try {
      const result = await child;
      for (const reader of readers) reader.end();
      if (result.exitCode === undefined && result.signal === undefined && !timedOut)
        throw notStarted(file, result.cause ?? result, options.cwd);
      return {
        exitCode: result.exitCode ?? null,
        signal: result.signal ?? null,
        timedOut,
        stdout: kept.join('').slice(0, limit),
        tail: tail.text(),
        durationMs: Math.round(performance.now() - began),
      };
    } finally {
      if (total !== null) clearTimeout(total);
      if (silence !== null) clearInterval(silence);
      options.signal?.removeEventListener('abort', onAbort);
    }
  })();
  // Whoever only calls `end` must not meet an unhandled rejection.
  finished.catch(() => undefined);

  return {
    get pid() {
      return pid;
    },
    finished,
    end: async (graceMs) => {
      await spawned.catch(() => undefined);
      const isOver = finished.then(
        () => true,
        () => true,
      );
      signalGroup('SIGINT');
      const inTime = await Promise.race([isOver, new Promise<boolean>((done) => setTimeout(() => done(false), graceMs).unref())]);
      // What the program left behind in its group ends with it.
      if (!inTime || pid > 1) signalGroup('SIGKILL');
      return finished;
    },
  };
}

function notStarted(file: string, cause: unknown, cwd: string | undefined): AgentError {
  const code = (cause as NodeJS.ErrnoException | undefined)?.code;
  const why =
    code === 'ENOENT'
      ? cwd === undefined
        ? 'it was not found'
        : `it, or the directory ${cwd}, was not found`
      : code === 'EACCES'
        ? 'it may not be run'
        : cause instanceof Error
          ? cause.message
          : String(cause);
  return new AgentError('COMMAND_FAILED', `${file} could not be started: ${why}`, { cause, details: { file, code } });
}

/** Splits a stream into lines; progress meters end theirs with a carriage return. */
class Lines {
  readonly #onLine: (line: string) => void;
  readonly #decoder = new TextDecoder();
  #rest = '';

  constructor(onLine: (line: string) => void) {
    this.#onLine = onLine;
  }

  add(chunk: Buffer): string {
    const text = this.#decoder.decode(chunk, { stream: true });
    const parts = (this.#rest + text).split(/\r\n|\n|\r/);
    this.#rest = (parts.pop() ?? '').slice(0, LINE_LIMIT);
    for (const line of parts) if (line !== '') this.#onLine(line);
    return text;
  }

  end(): void {
    if (this.#rest !== '') this.#onLine(this.#rest);
    this.#rest = '';
  }
}

class Tail {
  #chunks: Buffer[] = [];
  #bytes = 0;

  add(chunk: Buffer): void {
    this.#chunks.push(chunk);
    this.#bytes += chunk.length;
    while (this.#bytes - (this.#chunks[0]?.length ?? 0) >= TAIL_BYTES) this.#bytes -= this.#chunks.shift()?.length ?? 0;
  }

  text(): string {
    return Buffer.concat(this.#chunks).subarray(-TAIL_BYTES).toString('utf8');
  }
}
