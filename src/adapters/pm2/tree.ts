import { readdirSync, readFileSync } from 'node:fs';

/**
 * Process trees by /proc, for PM2's daemon. PM2's own way needs `ps` (missing in slim images), takes a zombie for a living
 * process, and loses children whose parent died first.
 */

export interface Member {
  readonly pid: number;
  /** Start time in clock ticks: tells a reused pid apart. */
  readonly startTicks: string;
}

interface Stat extends Member {
  readonly state: string;
  readonly parent: number;
  readonly group: number;
  readonly session: number;
}

function readStat(pid: number): Stat | null {
  let line: string;
  try {
    line = readFileSync(`/proc/${pid}/stat`, 'latin1');
  } catch {
    return null;
  }
  // The name in parentheses may hold anything, so fields are counted from the last one.
  const fields = line.slice(line.lastIndexOf(')') + 2).split(' ');
  return {
    pid,
    state: fields[0] ?? 'X',
    parent: Number(fields[1]),
    group: Number(fields[2]),
    session: Number(fields[3]),
    startTicks: fields[19] ?? '',
  };
}

const gone = (stat: Stat | null): boolean => stat === null || stat.state === 'Z' || stat.state === 'X';

/** The living process of that pid. */
export function readMember(pid: number): Member | null {
  const stat = readStat(pid);
  return gone(stat) ? null : stat;
}

/** Whether there is a process of that pid that is more than a zombie. */
export const isAlive = (pid: number): boolean => !gone(readStat(pid));

/** Whether it still is the process it was. */
export const isSame = (member: Member): boolean => {
  const stat = readStat(member.pid);
  return !gone(stat) && stat?.startTicks === member.startTicks;
};

/**
 * The process, its descendants, and everything in its process group or session: PM2 gives each entry a session of its own,
 * so children are found also when their parent is dead. Deepest last.
 */
export function processTree(root: number): readonly Member[] {
  const all = readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .map((name) => readStat(Number(name)))
    .filter((stat): stat is Stat => stat !== null && !gone(stat));
  const chosen = new Map(
    all.filter((stat) => stat.pid === root || stat.group === root || stat.session === root).map((stat) => [stat.pid, stat]),
  );
  for (let size = -1; size !== chosen.size; ) {
    size = chosen.size;
    for (const stat of all) if (chosen.has(stat.parent)) chosen.set(stat.pid, stat);
  }
  return [...chosen.values()];
}

/** Signals each member that still is the same process. */
export function signalAll(members: readonly Member[], signal: NodeJS.Signals): void {
  for (const member of members) {
    if (!isSame(member)) continue;
    try {
      process.kill(member.pid, signal);
    } catch {
      // Ended meanwhile, or of another user: the caller looks again.
    }
  }
}

const POLL_MS = 25;
/** After SIGKILL a process ends at once unless the kernel holds it (uninterruptible sleep in a driver). */
const KILLED_WITHIN_MS = 5_000;

/** Finds all members of a tree, and what belongs to it though it is not in it. */
type Search = () => Promise<readonly Member[]>;

/** Waits for the end of a tree; with `signal`, what was started after the first look gets it too. */
async function allGone(search: Search, members: readonly Member[], limitMs: number, signal?: NodeJS.Signals): Promise<readonly Member[]> {
  const end = performance.now() + limitMs;
  for (let left = members.filter(isSame); ; left = left.filter(isSame)) {
    if (left.length === 0) {
      left = [...(await search())];
      if (signal !== undefined) signalAll(left, signal);
    }
    if (left.length === 0 || performance.now() >= end) return left;
    await new Promise((resolve) => setTimeout(resolve, POLL_MS));
  }
}

/**
 * Ends a tree: SIGINT to all (as Ctrl-C would), after the grace period SIGKILL to what is left.
 *
 * @param more finds what is to end with it and is not in the tree
 * @returns pids that are still there
 */
export async function endTree(root: number, graceMs: number, more: Search = async () => []): Promise<readonly number[]> {
  const search: Search = async () => {
    const tree = processTree(root);
    const known = new Set(tree.map((member) => member.pid));
    return [...tree, ...(await more()).filter((member) => !known.has(member.pid))];
  };
  const members = await search();
  signalAll(members, 'SIGINT');
  let left = await allGone(search, members, graceMs);
  if (left.length > 0) {
    signalAll(left, 'SIGKILL');
    left = await allGone(search, left, KILLED_WITHIN_MS, 'SIGKILL');
  }
  return left.map((member) => member.pid);
}
