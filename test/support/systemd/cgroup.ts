import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync, rmdirSync } from 'node:fs';
import { join } from 'node:path';
import { eventually } from '../eventually.ts';

/** The control group of this machine that a systemd-machine gets as its root. */

/** The one of version 2 that this process is in; null: there is none, or it may not be divided. */
function cgroupHere(): string | null {
  const own = /^0::(.*)$/m.exec(readFileSync('/proc/self/cgroup', 'utf8'))?.[1];
  const mounted = /^\S+ (\S+) cgroup2 /m.exec(readFileSync('/proc/self/mounts', 'utf8'))?.[1];
  return own === undefined || mounted === undefined ? null : join(mounted, own);
}

/** Why there can be none; null: there can. */
export function whyNoCgroup(): string | null {
  const parent = cgroupHere();
  if (parent === null) return 'no control groups of version 2';
  const probe = join(parent, `comfylet-probe-${process.pid}`);
  try {
    mkdirSync(probe);
    // A process must be able to go there too: not in a threaded or foreign hierarchy.
    const { status } = spawnSync('sh', ['-c', `echo $$ >"$0/cgroup.procs"`, probe]);
    return status === 0 ? null : 'processes cannot be put into control groups of their own';
  } catch (error) {
    return `no control group can be made: ${(error as Error).message}`;
  } finally {
    if (existsSync(probe)) rmdirSync(probe);
  }
}

export function makeCgroup(name: string): string {
  const cgroup = join(cgroupHere() ?? '/', name);
  mkdirSync(cgroup);
  return cgroup;
}

/** Empty of processes by now, or soon: the kernel takes its time with the last ones. */
export async function removeCgroup(path: string): Promise<void> {
  const remove = (directory: string): void => {
    for (const entry of existsSync(directory) ? groupsOf(directory) : []) remove(join(directory, entry));
    rmdirSync(directory);
  };
  await eventually('the control group is empty', () => {
    remove(path);
    return true;
  });
}

const groupsOf = (directory: string): string[] =>
  spawnSync('find', [directory, '-mindepth', '1', '-maxdepth', '1', '-type', 'd', '-printf', '%f\\n'], { encoding: 'utf8' })
    .stdout.split('\n')
    .filter((name) => name !== '');
