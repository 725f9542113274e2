import { randomUUID } from 'node:crypto';
import { access, constants, stat } from 'node:fs/promises';
import { delimiter, isAbsolute, join, resolve } from 'node:path';
import { AgentError } from '../../domain/errors/errors.ts';
import type { CommandOptions, CommandResult, RunningCommand, Shell } from '../../ports/shell.ts';
import { endMarked } from './marked-processes.ts';
import { Head, LineSplitter, Tail } from './output.ts';

const DEFAULT_OUTPUT_BYTES = 4 * 1024 * 1024;
/** Between SIGTERM and SIGKILL when a limit ends a command. */
const END_GRACE_MS = 2_000;
/** How long output is waited for after the program itself ended: something it left behind may hold the pipes for ever. */
const DRAIN_MS = 2_000;

export interface ShellOptions {
  /** PATH for looking programs up, and for children whose environment is not given. */
  readonly path: string;
  /** Put into the environment of every child, so that those which outlive this process can be found. */
  readonly mark?: Readonly<Record<string, string>>;
  /** Stands before every command: a program that becomes it (other-user.ts). */
  readonly prefix?: readonly string[];
  /** What a command has started in sessions of its own (daemons) ends with it: for what packs have a hand in. */
  readonly endsDaemons?: boolean;
  /** When the last of its commands has ended: ends daemons that cannot be told by their environment any more. */
  readonly endOthers?: (isWanted: () => boolean) => Promise<void>;
}

/** Tells the processes of one command, wherever they have gone. */
const CALL_MARK = 'COMFYLET_CALL';

/**
 * Programs without a shell, each in a process group of its own, so that a limit ends all it started; what a program
 * leaves behind in its group ends with it. An abort is a value with the signal, unless it came before the start
 * (INTERRUPTED); a program that cannot be started is COMMAND_FAILED. A child's `pid` is 0 until it has started.
 */
export function createShell({ path, mark = {}, prefix = [], endsDaemons = false, endOthers }: ShellOptions): Shell {
  const directories = path.split(delimiter).filter(isAbsolute);
  const which = async (file: string): Promise<string | null> => {
    const candidates = file.includes('/') ? [resolve(file)] : directories.map((directory) => join(directory, file));
    for (const candidate of candidates) if (await isProgram(candidate)) return candidate;
    return null;
  };
  const defaults = { PATH: path, HOME: '/', LANG: 'C.UTF-8' };
  const marked = (options: CommandOptions): CommandOptions => ({
    ...options,
    environment: { ...(options.environment ?? defaults), ...mark },
  });
  let running = 0;
  const endDaemons = async (call: string): Promise<void> => {
    await endMarked(CALL_MARK, call);
    running -= 1;
    // One that belongs to a command that still runs may be wanted.
    if (running === 0) await endOthers?.(() => running === 0);
  };
  const begin = (file: string, args: readonly string[], options: CommandOptions): RunningCommand => {
    const [first = file, ...rest] = [...prefix, file, ...args];
    const own = marked(options);
    if (!endsDaemons) return start(first, rest, own);
    const call = randomUUID();
    running += 1;
    return start(first, rest, { ...own, environment: { ...own.environment, [CALL_MARK]: call } }, () => endDaemons(call));
  };
  return {
    which,
    spawn: (file, args, options = {}) => begin(file, args, options),
    run: async (file, args, options = {}) => begin(file, args, options).finished,
  };
}

async function isProgram(path: string): Promise<boolean> {
  try {
    await access(path, constants.X_OK);
    return (await stat(path)).isFile();
  } catch {
    return false;
  }
}

function start(
  file: string,
  args: readonly string[],
  options: CommandOptions,
  afterwards: () => Promise<void> = async () => undefined,
): RunningCommand {
  const group = new ProcessGroup();
  const spawned = launch(file, args, options).then((child) => {
    group.pid = child.subprocess.pid ?? 0;
    return child;
  });
  const finished = spawned.then(({ subprocess }) => follow(file, subprocess, group, options)).finally(afterwards);
  // Whoever only calls `end` must not meet an unhandled rejection.
  finished.catch(() => undefined);
  return {
    get pid() {
      return group.pid;
    },
    finished,
    end: async (graceMs) => {
      await spawned.catch(() => undefined);
      group.end('SIGINT', graceMs);
      return finished;
    },
  };
}

/** Our own process group of a child: signalled only as long as its leader runs, and once when that ends. */
class ProcessGroup {
  pid = 0;
  #isOver = false;
  #kill: NodeJS.Timeout | null = null;

  get isEnding(): boolean {
    return this.#kill !== null;
  }

  /** A soft signal, then SIGKILL to all after the grace period. A second call changes nothing. */
  end(signal: NodeJS.Signals, graceMs: number): void {
    if (this.#isOver || this.isEnding) return;
    this.#signal(signal);
    this.#kill = setTimeout(() => this.#signal('SIGKILL'), graceMs);
  }

  /** The leader has ended: ends what it left behind. Its number may belong to somebody else from here on. */
  close(): void {
    if (this.#kill !== null) clearTimeout(this.#kill);
    this.#signal('SIGKILL');
    this.#isOver = true;
  }

  #signal(signal: NodeJS.Signals): void {
    if (this.pid <= 1 || this.#isOver) return;
    try {
      process.kill(-this.pid, signal);
    } catch {
      // The group has ended.
    }
  }
}

/** Wrapped, because a subprocess is itself a promise of its end. */
async function launch(file: string, args: readonly string[], options: CommandOptions) {
  const { execa } = await import('execa');
  if (options.signal?.aborted) throw new AgentError('INTERRUPTED', `${file} was not started: it was interrupted`);
  try {
    const subprocess = execa(file, [...args], {
      ...(options.cwd === undefined ? {} : { cwd: options.cwd }),
      env: { ...options.environment },
      extendEnv: false,
      detached: true,
      buffer: false,
      reject: false,
      stripFinalNewline: false,
      ...(options.inputFile !== undefined
        ? { inputFile: options.inputFile }
        : options.input === undefined
          ? { stdin: 'ignore' as const }
          : { input: options.input }),
    });
    return { subprocess };
  } catch (error) {
    throw await notStarted(file, error, options.cwd);
  }
}

type Subprocess = Awaited<ReturnType<typeof launch>>['subprocess'];

async function follow(file: string, subprocess: Subprocess, group: ProcessGroup, options: CommandOptions): Promise<CommandResult> {
  const began = performance.now();
  const tail = new Tail();
  const head = new Head(options.maxOutputBytes ?? DEFAULT_OUTPUT_BYTES);
  let heard = began;
  let timedOut = false;
  const readers = (['stdout', 'stderr'] as const).map((stream) => {
    const lines = new LineSplitter((line) => options.onLine?.(line, stream));
    subprocess[stream]?.on('data', (chunk: Uint8Array) => {
      heard = performance.now();
      tail.add(chunk);
      if (stream === 'stdout') head.add(chunk);
      lines.add(chunk);
    });
    return lines;
  });

  const expire = (): void => {
    if (group.isEnding) return;
    timedOut = true;
    group.end('SIGTERM', END_GRACE_MS);
  };
  const total = options.timeoutMs === undefined ? undefined : setTimeout(expire, options.timeoutMs);
  const { silenceMs } = options;
  const silence =
    silenceMs === undefined
      ? undefined
      : setInterval(() => performance.now() - heard > silenceMs && expire(), Math.min(1_000, Math.max(20, silenceMs / 4)));
  const abort = (): void => group.end('SIGTERM', END_GRACE_MS);
  if (options.signal?.aborted) abort();
  options.signal?.addEventListener('abort', abort, { once: true });

  let drain: NodeJS.Timeout | undefined;
  subprocess.nodeChildProcess.once('exit', () => {
    clearTimeout(total);
    clearInterval(silence);
    // A limit ended it: nobody waits for what is left. Otherwise a `tee` it started may still have lines for us.
    if (group.isEnding) group.close();
    drain = setTimeout(() => {
      group.close();
      subprocess.stdout?.destroy();
      subprocess.stderr?.destroy();
    }, DRAIN_MS);
  });
  try {
    const result = await subprocess;
    if (result.exitCode === undefined && result.signal === undefined) throw await notStarted(file, result.cause ?? result, options.cwd);
    for (const lines of readers) lines.end();
    return {
      exitCode: result.exitCode ?? null,
      signal: result.signal ?? null,
      timedOut,
      stdout: head.text(),
      tail: tail.text(),
      durationMs: Math.round(performance.now() - began),
    };
  } finally {
    clearTimeout(total);
    clearInterval(silence);
    clearTimeout(drain);
    group.close();
    options.signal?.removeEventListener('abort', abort);
  }
}

/** Why a program could not be started, without its arguments. */
async function notStarted(file: string, cause: unknown, cwd: string | undefined): Promise<AgentError> {
  const isNowhere = cwd !== undefined && !(await stat(cwd).catch(() => null))?.isDirectory();
  const code = (cause as NodeJS.ErrnoException | undefined)?.code;
  const why = isNowhere
    ? `the directory ${cwd} does not exist`
    : code === 'ENOENT'
      ? 'it was not found'
      : code === 'EACCES'
        ? 'it may not be run'
        : (code ?? 'its arguments or environment are not valid');
  return new AgentError('COMMAND_FAILED', `${file} could not be started: ${why}`, {
    help: isNowhere ? 'create the directory' : 'install the program, or correct its path and permissions',
    cause,
    details: { file, code },
  });
}
