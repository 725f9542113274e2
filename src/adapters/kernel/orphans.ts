import { setTimeout as sleep } from 'node:timers/promises';
import { createPause, listPids, type ProcessStat, readOptional, readStat } from './proc.ts';

/**
 * What a program of a node pack leaves running can leave its process group and its session and clear its environment. Its control group
 * it cannot leave: only root moves processes, and no set-uid program helps it (no_new_privs). So in the agent's own unit, in which
 * everything is started by the agent, a process of ComfyUI's user that descends from the agent no longer is such a leftover.
 */
export interface OrphanSearch {
  /** Whose processes count. */
  readonly uid: number;
  /** The control group, as `unitGroup` gives it. */
  readonly group: string;
  /** Whose descendants are none. */
  readonly self?: number;
  readonly procRoot?: string;
}

/** Time to end on SIGTERM; then SIGKILL. */
const GRACE_MS = 2_000;
/** What the kernel holds (a driver) is not waited for. */
const LIMIT_MS = 5_000;
const LOOK_MS = 25;

/** The line of /proc/PID/cgroup by which systemd knows that unit, if this process is in it; null: it runs elsewhere. */
export const unitGroup = (unit: string, procRoot = '/proc'): string | null =>
  groupsOf(procRoot, 'self').find((line) => line.endsWith(`/${unit}`)) ?? null;

/** Lines of the hierarchies that systemd may keep units in: its own of version 1, or that of version 2. One of them may be out of use. */
const groupsOf = (procRoot: string, pid: number | 'self'): readonly string[] =>
  (readOptional(`${procRoot}/${pid}/cgroup`)?.split('\n') ?? []).filter((line) => /^(?:\d+:name=systemd|0:):/.test(line));

/** The real, effective, saved and file system uid: any of them. */
function belongsTo(procRoot: string, pid: number, uid: number): boolean {
  const line = /^Uid:\s*(.+)$/m.exec(readOptional(`${procRoot}/${pid}/status`) ?? '')?.[1] ?? '';
  return line.split(/\s+/).includes(String(uid));
}

export async function findOrphans({ uid, group, self = process.pid, procRoot = '/proc' }: OrphanSearch): Promise<readonly ProcessStat[]> {
  const pause = createPause();
  const inGroup = new Map<number, ProcessStat>();
  for (const pid of listPids(procRoot)) {
    await pause();
    const stat = groupsOf(procRoot, pid).includes(group) ? readStat(procRoot, pid) : null;
    if (stat !== null) inGroup.set(pid, stat);
  }
  const isOfSelf = (pid: number): boolean => {
    for (let at = inGroup.get(pid); at !== undefined; at = inGroup.get(at.parent)) if (at.pid === self || at.parent === self) return true;
    return false;
  };
  return [...inGroup.values()].filter(({ pid }) => !isOfSelf(pid) && belongsTo(procRoot, pid, uid));
}

/**
 * Ends them: SIGTERM, and SIGKILL for what is left after two seconds. Returns when none is left, after five seconds, or when
 * `isWanted` says no.
 * @returns names of their programs, for the log
 */
export async function endOrphans(search: OrphanSearch, isWanted: () => boolean): Promise<readonly string[]> {
  const names = new Map<number, string>();
  const startedAt = performance.now();
  while (isWanted() && performance.now() - startedAt < LIMIT_MS) {
    const orphans = await findOrphans(search);
    if (orphans.length === 0) break;
    for (const { pid, name } of orphans) {
      names.set(pid, name);
      try {
        process.kill(pid, performance.now() - startedAt > GRACE_MS ? 'SIGKILL' : 'SIGTERM');
      } catch {
        // Gone in the meantime.
      }
    }
    await sleep(LOOK_MS);
  }
  return [...new Set(names.values())];
}
