import { type ChildProcess, spawn } from 'node:child_process';
import { fstatSync, writeSync } from 'node:fs';

/** How soon a command notices that the session which reads its output is gone. */
const LOOK_MS = 1_000;
const STDOUT = 1;
const TAIL = '/usr/bin/tail';

/**
 * Calls `end` when nobody is left to read the output, as when an SSH connection without a terminal is cut: a command that waits
 * for the next line of a log would never notice. A terminal tells by a signal.
 * - A socket: writing nothing fails when the other side is closed.
 * - A pipe (what sshd gives): only poll() tells, which Node has not. GNU tail does just that for its output, and ends by SIGPIPE.
 */
export function watchReader(end: () => void): void {
  let tail: ChildProcess | null = null;
  const look = (): void => {
    try {
      const output = fstatSync(STDOUT);
      if (output.isSocket()) writeSync(STDOUT, '');
      else if (output.isFIFO() && tail === null) tail = watchPipe(end);
      else clearInterval(timer);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'EPIPE') end();
    }
  };
  const timer = setInterval(look, LOOK_MS);
  timer.unref();
}

function watchPipe(end: () => void): ChildProcess {
  const tail = spawn(TAIL, [`--pid=${process.pid}`, '-f', '/dev/null'], { stdio: ['ignore', STDOUT, 'ignore'], env: {}, cwd: '/' });
  tail.unref();
  // No tail, or another one: then the next line tells.
  tail.once('error', () => undefined);
  // It holds the pipe open, for which a reader would wait.
  process.once('exit', () => tail.kill('SIGKILL'));
  tail.once('exit', (_code, signal) => {
    if (signal === 'SIGPIPE') end();
  });
  return tail;
}
