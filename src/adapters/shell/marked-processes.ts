/**
 * Ends the processes of one call, by a variable of its own that all of them inherit, found in /proc: git with its transport helper,
 * index-pack and ssh, of which simple-git gives neither a process group nor a pid; and what a script of a pack has started in
 * sessions and groups of their own.
 */
import { readdir, readFile } from 'node:fs/promises';
import { setTimeout as sleep } from 'node:timers/promises';

/** Time for temporary files and locks to be removed on SIGTERM; what is left after it is killed. */
const graceMs = 2_000;

/** Ends every process with that value of the variable: SIGTERM, then SIGKILL. Returns when none is left, or after five seconds. */
export async function endMarked(variable: string, value: string): Promise<void> {
  const startedAt = performance.now();
  for (;;) {
    const pids = await marked(`${variable}=${value}`);
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

async function marked(wanted: string): Promise<readonly number[]> {
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
