import { readFileSync } from 'node:fs';
import { readdir, readFile, readlink } from 'node:fs/promises';

/** Of /proc/<pid>/stat; USER_HZ is 100 on every Linux that Node runs on. */
const TICKS_PER_SECOND = 100;
const START_TIME_AFTER_NAME = 19;

/** When a process began, on the clock of `performance.now()`, to 10 ms. */
export async function startOf(pid: number): Promise<number> {
  const [stat, uptime] = await Promise.all([readFile(`/proc/${pid}/stat`, 'utf8'), readFile('/proc/uptime', 'utf8')]);
  const now = performance.now();
  const ticks = Number(stat.slice(stat.lastIndexOf(')') + 2).split(' ')[START_TIME_AFTER_NAME]);
  return now - (Number(uptime.split(' ')[0]) - ticks / TICKS_PER_SECOND) * 1_000;
}

/** Processes that belong to a directory: it is in their command line, or they run in it. `pid command` each. */
export async function processesOf(directory: string): Promise<readonly string[]> {
  const pids = (await readdir('/proc')).filter((name) => /^\d+$/.test(name));
  const found = await Promise.all(
    pids.map(async (pid) => {
      const command = (await readFile(`/proc/${pid}/cmdline`, 'utf8').catch(() => '')).replaceAll('\0', ' ').trim();
      const place = await readlink(`/proc/${pid}/cwd`).catch(() => '');
      return command.includes(directory) || place.startsWith(directory) ? `${pid} ${command}` : null;
    }),
  );
  return found.filter((each) => each !== null);
}

/** A zombie has ended, whoever should collect it. */
export const isRunning = (pid: number | null): boolean => {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'latin1');
    return !'ZX'.includes(stat[stat.lastIndexOf(')') + 2] ?? 'X');
  } catch {
    return false;
  }
};

export interface ProcessRow {
  readonly pid: number;
  readonly parent: number;
  readonly command: string;
}

/** Processes that know a directory: it is in their command line, their environment, or they run in it. */
export async function processesKnowing(directory: string): Promise<readonly ProcessRow[]> {
  const pids = (await readdir('/proc')).filter((name) => /^\d+$/.test(name) && Number(name) !== process.pid);
  const found = await Promise.all(
    pids.map(async (pid): Promise<ProcessRow | null> => {
      const [command, environment, place, stat] = await Promise.all([
        readFile(`/proc/${pid}/cmdline`, 'utf8').catch(() => ''),
        readFile(`/proc/${pid}/environ`, 'utf8').catch(() => ''),
        readlink(`/proc/${pid}/cwd`).catch(() => ''),
        readFile(`/proc/${pid}/stat`, 'utf8').catch(() => ''),
      ]);
      const [state, parent] = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
      // A zombie is its parent's affair.
      if (stat === '' || state === 'Z') return null;
      if (!command.includes(directory) && !environment.includes(directory) && !place.startsWith(directory)) return null;
      return { pid: Number(pid), parent: Number(parent), command: command.replaceAll('\0', ' ').trim() };
    }),
  );
  return found.filter((each) => each !== null);
}

/** Those of the rows that do not descend from one of these pids. */
export function strangersAmong(rows: readonly ProcessRow[], roots: readonly number[]): readonly ProcessRow[] {
  const parents = new Map(rows.map((row) => [row.pid, row.parent]));
  const belongs = (pid: number | undefined): boolean => pid !== undefined && (roots.includes(pid) || belongs(parents.get(pid)));
  return rows.filter(({ pid }) => !belongs(pid));
}
