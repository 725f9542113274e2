import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { createKernel } from '../../../src/adapters/kernel/kernel.ts';
import type { Kernel } from '../../../src/ports/kernel.ts';
import { createFakeKernel } from '../../fakes/kernel.ts';

/** A process to be looked at: itself, and one child, each of which may listen on a port. */
interface Subject {
  readonly pid: number;
  readonly tcpPort: number | null;
  readonly child: { readonly pid: number; readonly tcpPort: number | null } | null;
}

interface SubjectOptions {
  readonly environment?: Readonly<Record<string, string>>;
  readonly listens?: boolean;
  readonly child?: { readonly listens?: boolean };
}

/** The same processes in memory and on this machine. */
export interface KernelHarness {
  readonly kernel: Kernel;
  start(options?: SubjectOptions): Promise<Subject>;
  /** Stops it as SIGSTOP does. */
  halt(pid: number): void;
  /** Ends the process (not its child) and waits until it is gone. */
  kill(pid: number): Promise<void>;
  /** Ends the child, which its parent does not wait for. */
  zombieChild(): Promise<{ readonly parent: number; readonly zombie: number }>;
  close(): Promise<void>;
}

export async function fakeKernelHarness(): Promise<KernelHarness> {
  const fake = createFakeKernel();
  let nextPid = 5_000_000;
  let nextPort = 40_000;
  const add = (options: SubjectOptions, parent = process.pid) => {
    const pid = nextPid++;
    const tcpPort = options.listens === true ? nextPort++ : null;
    fake.add({
      pid,
      parent,
      command: `subject ${pid}`,
      environment: options.environment ?? {},
      listens: tcpPort === null ? [] : [tcpPort],
    });
    return { pid, tcpPort };
  };
  return {
    kernel: fake.kernel,
    start: async (options = {}) => {
      const subject = add(options);
      return {
        ...subject,
        child: options.child === undefined ? null : add({ ...options.child, environment: options.environment ?? {} }, subject.pid),
      };
    },
    halt: (pid) => fake.activity(pid, 'T', 20),
    kill: async (pid) => fake.remove(pid),
    zombieChild: async () => {
      const parent = add({});
      const zombie = add({}, parent.pid);
      fake.zombie(zombie.pid);
      return { parent: parent.pid, zombie: zombie.pid };
    },
    close: async () => undefined,
  };
}

/** Runs in the subject: tells pid and port, first of its child, then of itself. */
const PROGRAM = `
const [listens, child] = JSON.parse(process.argv[1]);
const { spawn } = require('node:child_process');
const tell = (tcpPort) => console.log(JSON.stringify({ pid: process.pid, tcpPort }));
const begin = () => {
  if (!listens) return tell(null);
  const server = require('node:net').createServer().listen(0, '127.0.0.1', () => tell(server.address().port));
};
if (child) {
  const { stdout } = spawn(process.execPath, ['-e', process.env.SUBJECT_PROGRAM, JSON.stringify(child)], { stdio: ['ignore', 'pipe', 'inherit'] });
  stdout.once('data', (line) => { process.stdout.write(line); begin(); });
} else begin();
setInterval(() => {}, 1_000_000);
`;

export async function realKernelHarness(): Promise<KernelHarness> {
  const children = new Map<number, ChildProcess>();
  const pids = new Set<number>();
  const launch = (file: string, args: readonly string[], environment: Readonly<Record<string, string>>) => {
    const child = spawn(file, args, { stdio: ['ignore', 'pipe', 'inherit'], env: environment });
    if (child.pid === undefined) throw new Error(`${file} did not start`);
    children.set(child.pid, child);
    pids.add(child.pid);
    return { pid: child.pid, lines: createInterface(child.stdout)[Symbol.asyncIterator]() };
  };
  const end = async (pid: number): Promise<void> => {
    const child = children.get(pid);
    if (child === undefined || child.exitCode !== null || child.signalCode !== null) return;
    const ended = once(child, 'exit');
    child.kill('SIGKILL');
    await ended;
  };
  return {
    kernel: createKernel(),
    start: async (options = {}) => {
      const plan = JSON.stringify([options.listens === true, options.child === undefined ? null : [options.child.listens === true, null]]);
      const { pid, lines } = launch(process.execPath, ['-e', PROGRAM, plan], { ...options.environment, SUBJECT_PROGRAM: PROGRAM });
      const told = async () => JSON.parse((await lines.next()).value ?? 'null') as { pid: number; tcpPort: number | null };
      const child = options.child === undefined ? null : await told();
      if (child !== null) pids.add(child.pid);
      const self = await told();
      return { pid, tcpPort: self.tcpPort, child };
    },
    halt: (pid) => void process.kill(pid, 'SIGSTOP'),
    kill: end,
    zombieChild: async () => {
      // The shell becomes a program that never waits for the child it has inherited.
      const { pid, lines } = launch('/bin/sh', ['-c', 'sleep 600 >/dev/null & echo $!; exec sleep 600'], {
        PATH: process.env['PATH'] ?? '',
      });
      const zombie = Number((await lines.next()).value);
      pids.add(zombie);
      process.kill(zombie, 'SIGKILL');
      return { parent: pid, zombie };
    },
    close: async () => {
      for (const pid of pids) {
        if (children.has(pid)) continue;
        try {
          process.kill(pid, 'SIGKILL');
        } catch {
          // Gone already.
        }
      }
      for (const pid of children.keys()) await end(pid);
    },
  };
}
