import { spawn } from 'node:child_process';
import { closeSync, fstatSync, openSync, readSync } from 'node:fs';
import { chmod, mkdir, rename, stat } from 'node:fs/promises';
import { dirname } from 'node:path';
import { AgentError } from '../../domain/errors/errors.ts';
import { DAEMON_EXIT_TAKEN, type Pm2Paths } from './paths.ts';

export interface LaunchOptions {
  /** The command that runs runPm2Daemon. */
  readonly daemonCommand: { readonly file: string; readonly args: readonly string[] };
  readonly daemonLog: string;
  /** The whole environment of the daemon; entries do not inherit it. */
  readonly environment: Readonly<Record<string, string>>;
}

/** The daemon allocates little and seldom: one arena saves memory for its whole life. */
const SMALL = { MALLOC_ARENA_MAX: '1' };

const READY_LIMIT_MS = 10_000;
const TAIL_BYTES = 2_000;
const LOG_LIMIT_BYTES = 4 * 1024 * 1024;

/**
 * Starts PM2's daemon in a session of its own and waits until it can be called.
 *
 * @returns its pid, or null when it ended because another daemon has the same home
 * @throws AgentError PM2_UNAVAILABLE with the last lines of its log
 */
export async function launchDaemon(paths: Pm2Paths, options: LaunchOptions): Promise<number | null> {
  await mkdir(paths.home, { recursive: true, mode: 0o700 });
  await chmod(paths.home, 0o700);
  await mkdir(dirname(options.daemonLog), { recursive: true });
  await keepSmall(options.daemonLog);
  const log = openSync(options.daemonLog, 'a+', 0o600);
  const from = fstatSync(log).size;
  try {
    const child = spawn(options.daemonCommand.file, [...options.daemonCommand.args], {
      detached: true,
      cwd: '/',
      env: { ...SMALL, ...options.environment, PM2_HOME: paths.home },
      stdio: ['ignore', log, log, 'ipc'],
    });
    return await new Promise<number | null>((resolve, reject) => {
      let isOver = false;
      const fail = (what: string, cause?: unknown) => {
        // One that is killed for its silence ends later, when its log is closed here.
        if (isOver) return;
        isOver = true;
        const tail = readTail(log, from);
        const lines = tail === '' ? '' : `; its last words: ${tail}`;
        reject(new AgentError('PM2_UNAVAILABLE', `${what}${lines}`, { help: `see ${options.daemonLog}`, cause, details: { tail } }));
      };
      const timer = setTimeout(() => {
        child.kill('SIGKILL');
        fail(`the PM2 daemon was not ready within ${READY_LIMIT_MS} ms`);
      }, READY_LIMIT_MS);
      child.once('error', (error) => {
        clearTimeout(timer);
        fail(`the PM2 daemon cannot be started: ${error.message}`, error);
      });
      child.once('exit', (code, signal) => {
        clearTimeout(timer);
        if (code === DAEMON_EXIT_TAKEN) resolve(null);
        else fail(`the PM2 daemon ended while starting (${signal ?? `exit code ${code}`})`);
      });
      child.once('message', () => {
        clearTimeout(timer);
        child.removeAllListeners();
        // A failing disconnect or a later end of the daemon is seen on the bus.
        child.on('error', () => {});
        child.disconnect();
        child.unref();
        resolve(child.pid ?? null);
      });
    });
  } finally {
    closeSync(log);
  }
}

/** One old log is kept; the daemon writes a few lines for each start and end of a process. */
async function keepSmall(file: string): Promise<void> {
  const size = await stat(file).then(
    (facts) => facts.size,
    () => 0,
  );
  if (size > LOG_LIMIT_BYTES) await rename(file, `${file}.1`);
}

function readTail(log: number, from: number): string {
  const size = fstatSync(log).size;
  const start = Math.max(from, size - TAIL_BYTES);
  const buffer = Buffer.alloc(Math.max(0, size - start));
  const read = readSync(log, buffer, 0, buffer.length, start);
  return buffer.toString('utf8', 0, read).trim();
}
