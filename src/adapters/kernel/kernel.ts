import { setImmediate as nextTurn } from 'node:timers/promises';
import { AgentError } from '../../domain/errors/errors.ts';
import type { Incarnation } from '../../domain/instances/instance.ts';
import { toTime } from '../../domain/observed.ts';
import type { Kernel } from '../../ports/kernel.ts';
import { createMemoryOfKernel } from './memory.ts';
import { createPortsOfKernel } from './ports.ts';
import {
  answersToSignal,
  createGuardedRead,
  createLook,
  createPause,
  listPids,
  type ProcessStat,
  readOptional,
  readSmall,
  readStat,
  TICKS_PER_SECOND,
} from './proc.ts';

const COMMAND_LIMIT = 4 * 1024;
/** The kernel allows 128 KiB for one string and a few MiB in all; ours are far smaller. */
const ENVIRONMENT_LIMIT = 1024 * 1024;
/** Environments read at the same time: half of the thread pool. */
const PARALLEL_READS = 2;
/** Beyond this the wall clock was set, or /proc/uptime is not the host's. */
const CLOCK_STEP_MS = 2_000;

export interface KernelOptions {
  /** Where procfs is mounted; another place in tests. */
  readonly procRoot?: string;
  /** Whether a process is there that procfs does not show; by a null signal unless a test says. */
  readonly isThere?: (pid: number) => boolean;
  /** The kernel's log; another file in tests. */
  readonly kernelLog?: string;
}

const valueIn = (environment: readonly string[] | null, name: string): string | undefined =>
  environment?.find((entry) => entry.startsWith(`${name}=`))?.slice(name.length + 1);

/** Processes and ports from /proc itself: no ss, lsof or ps, which slim images lack. Linux only. */
export function createKernel(options: KernelOptions = {}): Kernel {
  const procRoot = options.procRoot ?? '/proc';
  const guardedRead = createGuardedRead();
  const look = createLook(procRoot, options.isThere ?? answersToSignal);
  /** For what is only told to people, or looked for among many: those that may not be read are passed over. */
  const glance = (pid: number): ProcessStat | null => {
    try {
      return readStat(procRoot, pid);
    } catch {
      return null;
    }
  };
  let bootedAt: number | null = null;
  let scanUnderWay: Promise<ReadonlyMap<number, ProcessStat>> | null = null;

  /**
   * Epoch milliseconds of the boot. `btime` counts whole seconds, too coarse to tell whether a process began before a
   * restart was asked for; /proc/uptime refines it to 10 ms. Kept as long as the clock is, so that start times stand still.
   */
  function bootTime(): number | null {
    const seconds = /^btime (\d+)$/m.exec(readSmall(`${procRoot}/stat`) ?? '')?.[1];
    if (seconds === undefined) return null;
    const coarse = Number(seconds) * 1_000;
    const uptime = Number.parseFloat(readOptional(`${procRoot}/uptime`) ?? '');
    const fine = Math.round(Date.now() - uptime * 1_000);
    const best = Math.abs(fine - coarse) <= CLOCK_STEP_MS ? fine : coarse;
    if (bootedAt === null || Math.abs(best - bootedAt) > CLOCK_STEP_MS) bootedAt = best;
    return bootedAt;
  }

  async function command(pid: number): Promise<string | null> {
    const stat = glance(pid);
    if (stat === null) return null;
    const line = await guardedRead(`${procRoot}/${pid}/cmdline`, COMMAND_LIMIT);
    const words = line?.toString('utf8').replace(/\0+$/, '').replaceAll('\0', ' ').trim();
    // Kernel threads have no command line.
    return words === undefined || words === '' ? `[${stat.name}]` : words;
  }

  async function environment(pid: number): Promise<readonly string[] | null> {
    const content = await guardedRead(`${procRoot}/${pid}/environ`, ENVIRONMENT_LIMIT);
    return content === null ? null : content.toString('utf8').split('\0');
  }

  /** One look at all processes. Calls of the same moment share it; a call never gets a look begun before it. */
  function scan(): Promise<ReadonlyMap<number, ProcessStat>> {
    scanUnderWay ??= nextTurn().then(async () => {
      scanUnderWay = null;
      const all = new Map<number, ProcessStat>();
      const pause = createPause();
      for (const pid of listPids(procRoot)) {
        await pause();
        const stat = glance(pid);
        if (stat !== null) all.set(pid, stat);
      }
      return all;
    });
    return scanUnderWay;
  }

  function incarnationOf(pid: number): Incarnation | null {
    const stat = look(pid);
    const boot = stat === null ? null : bootTime();
    if (stat === null) return null;
    if (boot === null) throw new AgentError('INTERNAL', `${procRoot}/stat does not tell when the machine was started`);
    return { pid, startTicks: stat.startTicks, startedAt: toTime(boot + (Number(stat.startTicks) * 1_000) / TICKS_PER_SECOND) };
  }

  return {
    ...createPortsOfKernel(procRoot, command),
    ...createMemoryOfKernel(procRoot, options),
    command,

    incarnation: async (pid) => incarnationOf(pid),

    async environmentOf(pid, name) {
      return (glance(pid) === null ? null : valueIn(await environment(pid), name)) ?? null;
    },

    async identity(pid, names) {
      const incarnation = incarnationOf(pid);
      if (incarnation === null) return null;
      const all = await environment(pid);
      // What was read may be of the next process with that pid, or of nobody.
      if (look(pid)?.startTicks !== incarnation.startTicks) return null;
      if (all === null) throw new AgentError('FILE_UNREADABLE', `the environment of process ${pid} may not be read`);
      const set = names.flatMap((name): [string, string][] => {
        const value = valueIn(all, name);
        return value === undefined ? [] : [[name, value]];
      });
      return { incarnation, environment: Object.fromEntries(set) };
    },

    async tree(pid) {
      const all = await scan();
      // It may have ended since, or not be shown: only the first is an empty tree.
      if (!all.has(pid) && look(pid) === null) return [];
      return membersOf(all, pid);
    },

    async activity(pid) {
      const own = look(pid);
      if (own === null) return null;
      const all = await scan();
      const below = membersOf(all, pid).flatMap((member) => (member === pid ? [] : [all.get(member)]));
      const stats = [own, ...below.filter((stat) => stat !== undefined)];
      const ticks = stats.reduce((sum, stat) => sum + stat.cpuTicks, 0);
      return { state: own.state, cpuMs: (ticks * 1_000) / TICKS_PER_SECOND, waitsForDisk: stats.some((stat) => stat.state === 'D') };
    },

    async withEnvironment(name, value) {
      const isWanted = (entry: string): boolean => (value === null ? entry.startsWith(`${name}=`) : entry === `${name}=${value}`);
      const left = [...(await scan()).keys()];
      const found: number[] = [];
      const worker = async (): Promise<void> => {
        for (let pid = left.shift(); pid !== undefined; pid = left.shift()) {
          if (glance(pid) !== null && (await environment(pid))?.some(isWanted) === true) found.push(pid);
        }
      };
      await Promise.all(Array.from({ length: PARALLEL_READS }, worker));
      return found.sort((a, b) => a - b);
    },

    async residentBytes(pid) {
      const status = look(pid) === null ? null : readSmall(`${procRoot}/${pid}/status`);
      const kibibytes = /^VmRSS:\s+(\d+) kB$/m.exec(status ?? '')?.[1];
      return kibibytes === undefined ? null : Number(kibibytes) * 1024;
    },

    async end({ pid, startTicks }, signal) {
      if (!Number.isInteger(pid) || pid <= 1 || pid === process.pid) return false;
      // No await between the look and the signal: the narrowest gap in which the pid could be reused.
      if (look(pid)?.startTicks !== startTicks) return false;
      try {
        return process.kill(pid, signal);
      } catch {
        return false;
      }
    },
  };
}

/** A process, all below it, and what is in the session or group that it leads. */
function membersOf(all: ReadonlyMap<number, ProcessStat>, pid: number): readonly number[] {
  const children = Map.groupBy(all.values(), (stat) => stat.parent);
  const led = [...all.values()].filter((stat) => stat.pid !== pid && (stat.group === pid || stat.session === pid));
  const members = [pid, ...led.map((stat) => stat.pid)];
  for (const member of members) for (const child of children.get(member) ?? []) if (!members.includes(child.pid)) members.push(child.pid);
  return members;
}
