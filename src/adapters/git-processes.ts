/**
 * Ends the processes of one git call: git, its transport helper, index-pack, ssh. simple-git gives neither a process
 * group nor a pid, so each call is marked by a variable that all its processes inherit, and found by it in /proc.
 */
import { readdir, readFile } from 'node:fs/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import { markerName } from './git-environment.ts';

/** git removes its temporary files and locks on SIGTERM; what is left after this time is killed. */
const graceMs = 2_000;

/** Ends every process of the call: SIGTERM, then SIGKILL. Returns when none is left, or after five seconds. */
export async function endMarked(marker: string): Promise<void> {
  const startedAt = performance.now();
  for (;;) {
    const pids = await marked(marker);
    const elapsed = performance.now() - startedAt;
    if (pids.length === 0 || elapsed > 5_000) return;
    for (const pid of pids) {
      try {
        process.kill(pid, elapsed > graceMs ? 'SIGKILL' : 'SIGTERM');
      } catch {
        // Gone in the meantime.
      }
    }
    await sleep(25);
  }
}

async function marked(marker: string): Promise<readonly number[]> {
  const wanted = `${markerName}=${marker}`;
  const names = await readdir('/proc').catch((): string[] => []);
  const found = await Promise.all(
    names
      .filter((name) => /^\d+$/.test(name))
      .map(async (name) => {
        const environment = await readFile(`/proc/${name}/environ`, 'latin1').catch(() => '');
        return environment.split('\0').includes(wanted) ? Number(name) : null;
      }),
  );
  return found.filter((pid) => pid !== null);
}
