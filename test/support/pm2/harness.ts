import { readFileSync } from 'node:fs';
import { mkdir, mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { toPm2Entry } from '../../../ecosystem.template.js';
import { createProcesses } from '../../../src/adapters/pm2/pm2.ts';
import type { Pm2Entry } from '../../../src/domain/instances/instance.ts';
import type { Logger } from '../../../src/ports/logs.ts';
import type { Processes } from '../../../src/ports/pm2.ts';
import { createFakePm2 } from '../../fakes/processes.ts';
import { eventually } from '../eventually.ts';

/** What a running workload tells of itself. */
interface Serving {
  readonly pid: number;
  readonly environment: Readonly<Record<string, string>>;
}

interface EntryChanges {
  readonly environment?: Record<string, string>;
  readonly cwd?: string;
  readonly arguments?: string[];
  readonly scheduling?: { readonly cpus: string | null; readonly nice: number };
}

/** The outside of the port under test: the same for the fake and for PM2. */
export interface ProcessesHarness {
  readonly client: () => Processes;
  readonly entry: (name: string, changes?: EntryChanges) => Pm2Entry;
  /** Waits until the workload of that name serves, with a pid other than `not`. */
  readonly serving: (name: string, not?: number) => Promise<Serving>;
  readonly kill: (name: string, signal: 'SIGKILL') => Promise<void>;
  /** Makes the workload exit by itself. */
  readonly exit: (name: string, exitCode: number) => Promise<void>;
  readonly killDaemon: () => Promise<void>;
  readonly isAlive: (pid: number) => boolean;
  readonly close: () => Promise<void>;
}

export const RESTART_DELAY_MS = 100;

const silent: Logger = { debug() {}, info() {}, warn() {}, error() {}, child: () => silent };

export function fakeHarness(): Promise<ProcessesHarness> {
  const timers = new Set<NodeJS.Timeout>();
  const missing = '/nonexistent';
  const pm2 = createFakePm2({
    directoryExists: (path) => !path.startsWith(missing),
    later: (delayMs, work) => void timers.add(setTimeout(work, delayMs)),
  });
  const observer = pm2.client();
  const state = async (name: string) => (await observer.list()).find((found) => found.name === name);
  return Promise.resolve({
    client: pm2.client,
    entry: (name, changes = {}) => launchEntry(name, changes.cwd ?? '/somewhere', '/tmp', changes),
    serving: (name, not) =>
      eventually(`${name} serves`, async () => {
        const pid = (await state(name))?.pid;
        return pid && pid !== not ? { pid, environment: pm2.entry(name)?.env ?? {} } : null;
      }),
    kill: async (name, signal) => pm2.exit(name, { signal }),
    exit: async (name, exitCode) => pm2.exit(name, { exitCode }),
    killDaemon: async () => pm2.loseDaemon(),
    // Only what its daemon shows exists.
    isAlive: (pid) => pm2.pids().includes(pid),
    close: async () => {
      for (const timer of timers) clearTimeout(timer);
    },
  });
}

interface Facts extends Serving {
  readonly port: number;
  readonly child: number | null;
  /** In a session of its own, its parent gone. */
  readonly detached: number | null;
  readonly descriptors: readonly string[];
  readonly sigintIgnored: boolean;
}

export interface RealHarness extends ProcessesHarness {
  readonly root: string;
  readonly facts: (name: string, not?: number) => Promise<Facts>;
  readonly daemonLog: string;
}

const launchEntry = (name: string, cwd: string, root: string, changes: EntryChanges): Pm2Entry =>
  toPm2Entry({
    name,
    gpu: Number(name.replace('comfyui-gpu', '')),
    python: '/usr/bin/python3',
    checkout: cwd,
    arguments: changes.arguments ?? [],
    environment: {
      PATH: '/usr/local/bin:/usr/bin:/bin',
      SERVING_FILE: join(root, `${name}.json`),
      AGENT_RELEASE: 'r1',
      AGENT_PORT: '8190',
      ...changes.environment,
    },
    logFile: join(root, `${name}.log`),
    killTimeoutMs: 2_000,
    restartDelayMs: RESTART_DELAY_MS,
    release: 'r1',
    ...(changes.scheduling === undefined ? {} : { scheduling: changes.scheduling }),
  });

/** PM2 with a home of its own and small Python servers. All processes it started are ended by `close`. */
export async function realHarness(options: { readonly mode?: 'owned' | 'external'; readonly home?: string } = {}): Promise<RealHarness> {
  const root = await mkdtemp(join(tmpdir(), 'agent-pm2-'));
  const workload = join(import.meta.dirname, '../../fixtures/process');
  const daemonLog = join(root, 'pm2.log');
  const clients: Processes[] = [];
  const pids = new Set<number>();
  await mkdir(root, { recursive: true });
  const client = (mode = options.mode ?? 'owned') => {
    const made = createProcesses({
      pm2Home: options.home ?? join(root, 'pm2'),
      mode,
      daemonCommand: { file: process.execPath, args: [join(import.meta.dirname, 'daemon.ts')] },
      daemonLog,
      environment: { PATH: process.env['PATH'] ?? '', DAEMON_ONLY: 'yes' },
      log: silent,
    });
    clients.push(made);
    return made;
  };
  const facts = (name: string, not?: number): Promise<Facts> =>
    eventually(`${name} serves`, async () => {
      const found: Facts = JSON.parse(await readFile(join(root, `${name}.json`), 'utf8'));
      if (found.pid === not || !isAlive(found.pid)) return null;
      await fetch(`http://127.0.0.1:${found.port}/`);
      pids.add(found.pid);
      for (const pid of [found.child, found.detached]) if (pid !== null) pids.add(pid);
      return found;
    });
  return {
    root,
    daemonLog,
    client,
    facts,
    serving: facts,
    entry: (name, changes = {}) => launchEntry(name, changes.cwd ?? workload, root, changes),
    kill: async (name, signal) => void process.kill((await facts(name)).pid, signal),
    exit: async (name, exitCode) => void (await fetch(`http://127.0.0.1:${(await facts(name)).port}/exit/${exitCode}`).catch(() => null)),
    killDaemon: async () => {
      const pid = await clients[0]?.daemonPid();
      if (typeof pid === 'number') process.kill(pid, 'SIGKILL');
    },
    isAlive,
    close: async () => {
      for (const made of clients) await made.disconnect();
      await client('owned').shutdown();
      // What a killed daemon left behind.
      for (const pid of pids) if (isAlive(pid)) process.kill(pid, 'SIGKILL');
      await rm(root, { recursive: true, force: true });
    },
  };
}

/** A zombie has ended; whoever should collect it is slow on some machines. */
const isAlive = (pid: number): boolean => {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'latin1');
    return !'ZX'.includes(stat[stat.lastIndexOf(')') + 2] ?? 'X');
  } catch {
    return false;
  }
};
