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
