import { AgentError } from '../../src/domain/errors/errors.ts';
import type { Pm2Entry, ProcessEvent, ProcessState } from '../../src/domain/instances/instance.ts';
import { digestOf } from '../../src/domain/text/digest.ts';
import type { Processes } from '../../src/ports/pm2.ts';

export interface FakePm2Options {
  readonly now?: () => number;
  /** Directories that are there; default: all. */
  readonly directoryExists?: (path: string) => boolean;
  /** Runs `work` after the restart delay. Default: never, `respawn()` does it by hand. */
  readonly later?: (delayMs: number, work: () => void) => void;
  readonly mode?: 'owned' | 'external';
}

/** How a process ended; the default is a crash with exit code 1. */
interface FakeEnd {
  readonly exitCode?: number | null;
  readonly signal?: string | null;
}

export interface FakePm2 {
  /** A client; several share one daemon, as agents one after the other do. */
  client(): Processes;
  /** The entry as it was started, with its environment; null when there is none. */
  entry(name: string): Pm2Entry | null;
  /** Ends the process by itself; PM2 then waits for the respawn. */
  exit(name: string, end?: FakeEnd): void;
  /** The respawn after `exit`, when it is still due. */
  respawn(name: string): void;
  /** Kills the daemon: calls reject, entries are forgotten, every client is told. */
  loseDaemon(): void;
  /** Calls time out from now on, until the daemon is replaced or hears again. */
  deafen(deaf?: boolean): void;
  /** What systemd does in external mode. */
  startDaemon(): void;
  /** Makes the next call of that kind reject. */
  failNext(call: 'list' | 'start' | 'stop' | 'remove', error: AgentError): void;
  /** Of the processes that run, and of the daemon. */
  pids(): readonly number[];
  /** All calls that changed something, in order: `start comfyui-gpu0`. */
  readonly calls: readonly string[];
}

interface FakeEntry {
  readonly entry: Pm2Entry;
  state: ProcessState;
}

/** Above the kernel's largest pid, so that no test signals a real process. */
const FIRST_PID = 5_000_000;

/** PM2 in memory. */
export function createFakePm2(options: FakePm2Options = {}): FakePm2 {
  const now = options.now ?? Date.now;
  const mode = options.mode ?? 'owned';
  const entries = new Map<string, FakeEntry>();
  const listeners = new Set<(event: ProcessEvent) => void>();
  const failures = new Map<string, AgentError>();
  const calls: string[] = [];
  let daemon: number | null = mode === 'external' ? FIRST_PID : null;
  let nextPid = FIRST_PID + 1;
  let isDeaf = false;

  const tell = (event: ProcessEvent) => {
    for (const listener of [...listeners]) listener(event);
  };
  const reach = (call: string): void => {
    if (daemon === null) throw new AgentError('PM2_UNAVAILABLE', 'the PM2 daemon cannot be reached: no daemon (fake)');
    if (isDeaf) throw new AgentError('PM2_UNAVAILABLE', 'the PM2 daemon did not answer (fake)', { details: { timedOut: true } });
    const failure = failures.get(call);
    failures.delete(call);
    if (failure !== undefined) throw failure;
  };
  const run = (found: FakeEntry, respawns: number) => {
    found.state = { ...found.state, status: 'online', pid: nextPid++, respawns, startedAt: now() };
    tell({ kind: 'online', name: found.state.name, at: now() });
  };
  const end = (found: FakeEntry, how: FakeEnd, requested: boolean) => {
    if (found.state.pid === null) return;
    const signal = how.signal ?? null;
    const exitCode = signal === null ? (how.exitCode ?? 1) : null;
    const { pid } = found.state;
    found.state = { ...found.state, pid: null, status: requested ? 'stopped' : 'waiting restart' };
    tell({ kind: 'exit', name: found.state.name, pid, at: now(), exitCode, signal, requested });
  };
  const respawn = (name: string) => {
    const found = entries.get(name);
    if (found?.state.status === 'waiting restart') run(found, found.state.respawns + 1);
  };
  const stop = (name: string) => {
    const found = entries.get(name);
    if (found === undefined) return;
    end(found, { signal: 'SIGINT' }, true);
    found.state = { ...found.state, status: 'stopped' };
  };

  const lose = () => {
    daemon = null;
    isDeaf = false;
    entries.clear();
    tell({ kind: 'daemon-lost', at: now() });
  };

  const client = (): Processes => {
    const own = new Set<(event: ProcessEvent) => void>();
    const forward = (event: ProcessEvent) => {
      for (const listener of own) listener(event);
    };
    return {
      async connect({ replace = false } = {}) {
        if (isDeaf && replace && mode === 'owned') lose();
        if (isDeaf) reach('connect');
        if (daemon === null) {
          if (mode === 'external') reach('connect');
          daemon = nextPid++;
        }
        listeners.add(forward);
      },
      async list() {
        reach('list');
        return [...entries.values()].map((found) => found.state);
      },
      async check(entry) {
        if (options.directoryExists?.(entry.cwd) === false)
          throw new AgentError('INSTANCE_FAILED', `${entry.name} cannot start: its directory ${entry.cwd} does not exist`);
      },
      async start(entry) {
        reach('start');
        if (options.directoryExists?.(entry.cwd) === false) {
          throw new AgentError('INSTANCE_FAILED', `${entry.name} cannot start: its directory ${entry.cwd} does not exist`);
        }
        calls.push(`start ${entry.name}`);
        stop(entry.name);
        const env = { AGENT_ENTRY_DIGEST: digestOf(entry).slice(0, 16), ...entry.env };
        const state: ProcessState = {
          name: entry.name,
          status: 'launching',
          pid: null,
          respawns: 0,
          entryDigest: env.AGENT_ENTRY_DIGEST,
          release: entry.env['AGENT_RELEASE'] ?? null,
          tcpPort: entry.env['AGENT_PORT'] === undefined ? null : Number(entry.env['AGENT_PORT']),
          startedAt: null,
        };
        const found = { entry: { ...entry, env }, state };
        entries.set(entry.name, found);
        run(found, 0);
      },
      async stop(name) {
        reach('stop');
        calls.push(`stop ${name}`);
        stop(name);
      },
      async remove(name) {
        reach('remove');
        calls.push(`remove ${name}`);
        stop(name);
        entries.delete(name);
      },
      onEvent(listener) {
        own.add(listener);
        return () => void own.delete(listener);
      },
      daemonPid: async () => daemon,
      async disconnect() {
        listeners.delete(forward);
      },
      async shutdown() {
        listeners.delete(forward);
        if (mode === 'external' || daemon === null) return;
        for (const name of entries.keys()) stop(name);
        entries.clear();
        daemon = null;
      },
    };
  };

  return {
    client,
    calls,
    respawn,
    pids: () => [daemon, ...[...entries.values()].map((found) => found.state.pid)].filter((pid) => pid !== null),
    entry: (name) => entries.get(name)?.entry ?? null,
    exit(name, how = {}) {
      const found = entries.get(name);
      if (found === undefined) return;
      end(found, how, false);
      options.later?.(found.entry.restart_delay, () => respawn(name));
    },
    loseDaemon: lose,
    deafen: (deaf = true) => {
      isDeaf = deaf;
    },
    startDaemon() {
      daemon = nextPid++;
    },
    failNext: (call, error) => void failures.set(call, error),
  };
}
