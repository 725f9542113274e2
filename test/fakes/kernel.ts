import { AgentError } from '../../src/domain/errors/errors.ts';
import type { Incarnation } from '../../src/domain/instances/instance.ts';
import type { MemoryCounters } from '../../src/domain/instances/memory-group.ts';
import { toTime } from '../../src/domain/observed.ts';
import type { Kernel } from '../../src/ports/kernel.ts';

interface FakeProcess {
  readonly pid: number;
  readonly parent?: number;
  readonly command?: string;
  readonly environment?: Readonly<Record<string, string>>;
  /** Epoch milliseconds; default: now. */
  readonly startedAt?: number;
  readonly residentBytes?: number;
  readonly listens?: readonly number[];
  /** Belongs to another user: descriptors and environment may not be read. */
  readonly foreign?: boolean;
  /** Does not end with SIGTERM or SIGINT. */
  readonly deafToTerm?: boolean;
  /** pid of the leader of its session, when that is not its parent's. */
  readonly session?: number;
  /** Directory of its memory cgroup. */
  readonly memoryGroup?: string;
}

export interface FakeKernel {
  readonly kernel: Kernel;
  /** Adds a process; an earlier one of the same pid is replaced, as a reused pid is. */
  add(process: FakeProcess): Incarnation;
  /** Ends it; its children stay and get pid 1 as their parent. */
  remove(pid: number): void;
  /** Ended, and not waited for by its parent. */
  zombie(pid: number): void;
  /** From now on it is in this state and has used so much CPU time; a new one sleeps and has used none. */
  activity(pid: number, state: string, cpuMs: number): void;
  /** From now on it listens on exactly these ports. */
  listen(pid: number, tcpPorts: readonly number[]): void;
  /** From now on it holds so much memory. */
  resident(pid: number, bytes: number): void;
  /** A port held by somebody who cannot be seen. */
  hold(tcpPort: number): void;
  /** All calls but `end` reject until it is called with false. */
  blind(blind: boolean): void;
  /** Signals that were sent, in order: "SIGKILL 4711". */
  readonly signals: readonly string[];
  /** What is counted in a memory cgroup from now on. */
  count(counters: MemoryCounters): void;
  /** A line of the kernel's log about the end of this pid. */
  logOutOfMemory(pid: number, line: string): void;
  /** Called after each signal that ended a process. */
  onEnd(listener: (pid: number) => void): void;
}

interface Entry extends Omit<FakeProcess, 'residentBytes'> {
  readonly incarnation: Incarnation;
  /** By how much the clock had jumped then. */
  readonly addedAfter: number;
  residentBytes: number;
  parent: number;
  zombie: boolean;
  state: string;
  cpuMs: number;
  listens: readonly number[];
}

/** Processes and ports in memory. */
export function createFakeKernel(options: { readonly now?: () => number; readonly jumped?: () => number } = {}): FakeKernel {
  const now = options.now ?? Date.now;
  const jumped = options.jumped ?? (() => 0);
  const processes = new Map<number, Entry>();
  const heldByOthers = new Set<number>();
  const signals: string[] = [];
  const listeners: ((pid: number) => void)[] = [];
  const counters = new Map<string, MemoryCounters>();
  const kernelLog = new Map<number, string>();
  let blind = false;
  let startTicks = 1_000;

  const living = (pid: number): Entry | null => {
    if (blind) throw new AgentError('INTERNAL', '/proc cannot be read');
    const entry = processes.get(pid);
    return entry === undefined || entry.zombie ? null : entry;
  };
  const all = (): Entry[] => [...processes.values()].filter((entry) => living(entry.pid) !== null).sort((a, b) => a.pid - b.pid);
  const remove = (pid: number): void => {
    processes.delete(pid);
    for (const entry of processes.values()) if (entry.parent === pid) entry.parent = 1;
  };

  const kernel: Kernel = {
    // The kernel counts from the boot, whose moment moves with the wall clock.
    incarnation: async (pid) => {
      const entry = living(pid);
      if (entry === null) return null;
      const { incarnation, addedAfter } = entry;
      return { ...incarnation, startedAt: toTime(Date.parse(incarnation.startedAt) + jumped() - addedAfter) };
    },
    command: async (pid) => living(pid)?.command ?? null,
    environmentOf: async (pid, name) => {
      const entry = living(pid);
      return entry === null || entry.foreign === true ? null : (entry.environment?.[name] ?? null);
    },
    identity: async (pid, names) => {
      const entry = living(pid);
      if (entry === null) return null;
      if (entry.foreign === true) throw new AgentError('FILE_UNREADABLE', `the environment of process ${pid} may not be read`);
      const set = names.filter((name) => entry.environment?.[name] !== undefined);
      return {
        incarnation: entry.incarnation,
        environment: Object.fromEntries(set.map((name) => [name, entry.environment?.[name] ?? ''])),
      };
    },
    tree: async (pid) => {
      if (living(pid) === null) return [];
      const members = [pid, ...all().flatMap((entry) => (entry.session === pid && entry.pid !== pid ? [entry.pid] : []))];
      for (const member of members)
        members.push(...all().flatMap((entry) => (entry.parent === member && !members.includes(entry.pid) ? [entry.pid] : [])));
      return members;
    },
    portHolders: async (tcpPorts) => {
      const seen = all().flatMap((entry) =>
        entry.listens
          .filter((tcpPort) => tcpPorts.includes(tcpPort))
          .map((tcpPort) => ({
            tcpPort,
            pid: entry.foreign === true ? null : entry.pid,
            command: entry.foreign === true ? null : (entry.command ?? null),
          })),
      );
      return [
        ...seen,
        ...[...heldByOthers].filter((tcpPort) => tcpPorts.includes(tcpPort)).map((tcpPort) => ({ tcpPort, pid: null, command: null })),
      ];
    },
    listensOn: async (pid, tcpPort) => {
      if (!heldByOthers.has(tcpPort) && !all().some((entry) => entry.listens.includes(tcpPort))) return false;
      const entry = living(pid);
      return entry === null || entry.foreign === true ? null : entry.listens.includes(tcpPort);
    },
    withEnvironment: async (name, value) =>
      all().flatMap((entry) => {
        const set = entry.environment?.[name];
        return entry.foreign !== true && set !== undefined && (value === null || set === value) ? [entry.pid] : [];
      }),
    memoryGroup: async (pid) => living(pid)?.memoryGroup ?? null,
    memoryCounters: async (group) => counters.get(group) ?? null,
    outOfMemoryLine: async (pid) => kernelLog.get(pid) ?? null,
    residentBytes: async (pid) => {
      const entry = living(pid);
      return entry?.residentBytes ?? null;
    },
    activity: async (pid) => {
      const entry = living(pid);
      return entry === null ? null : { state: entry.state, cpuMs: entry.cpuMs, waitsForDisk: entry.state === 'D' };
    },
    end: async ({ pid, startTicks: ticks }, signal) => {
      const entry = living(pid);
      if (pid <= 1 || entry === null || entry.incarnation.startTicks !== ticks) return false;
      signals.push(`${signal} ${pid}`);
      if (signal !== 'SIGKILL' && entry.deafToTerm === true) return true;
      remove(pid);
      for (const listener of listeners) listener(pid);
      return true;
    },
  };

  return {
    kernel,
    add: (process) => {
      const incarnation = { pid: process.pid, startTicks: String(startTicks++), startedAt: toTime(process.startedAt ?? now()) };
      processes.set(process.pid, {
        ...process,
        incarnation,
        parent: process.parent ?? 1,
        zombie: false,
        state: 'S',
        cpuMs: 0,
        residentBytes: process.residentBytes ?? 64 * 1024 * 1024,
        addedAfter: jumped(),
        listens: process.listens ?? [],
      });
      return incarnation;
    },
    remove,
    zombie: (pid) => {
      const entry = processes.get(pid);
      if (entry !== undefined) Object.assign(entry, { zombie: true, listens: [] });
    },
    activity: (pid, state, cpuMs) => {
      const entry = processes.get(pid);
      if (entry !== undefined) Object.assign(entry, { state, cpuMs });
    },
    listen: (pid, tcpPorts) => {
      const entry = processes.get(pid);
      if (entry !== undefined) entry.listens = tcpPorts;
    },
    resident: (pid, bytes) => {
      const entry = processes.get(pid);
      if (entry !== undefined) entry.residentBytes = bytes;
    },
    hold: (tcpPort) => void heldByOthers.add(tcpPort),
    blind: (value) => {
      blind = value;
    },
    signals,
    count: (each) => void counters.set(each.group, each),
    logOutOfMemory: (pid, line) => void kernelLog.set(pid, line),
    onEnd: (listener) => void listeners.push(listener),
  };
}
