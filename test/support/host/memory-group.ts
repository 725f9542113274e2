import { mkdir, readFile, rmdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { groupDirectory, parseMemoryMounts } from '../../../src/adapters/kernel/memory.ts';

export interface TestMemoryGroup {
  readonly directory: string;
  /** Moves a process into it; its children are born there. */
  take(pid: number): Promise<void>;
  /** Empty by then. */
  close(): Promise<void>;
}

/** A memory cgroup of version 1 or 2 with a limit, below our own; or why there can be none here. */
export async function memoryGroup(limitMib: number): Promise<TestMemoryGroup | { readonly refused: string }> {
  const [mountinfo, cgroup] = await Promise.all([readFile('/proc/self/mountinfo', 'utf8'), readFile('/proc/self/cgroup', 'utf8')]);
  const refusals: string[] = [];
  for (const mount of parseMemoryMounts(mountinfo)) {
    const own = groupDirectory(cgroup, mount);
    if (own === null) continue;
    const directory = join(own, `agent-test-${process.pid}-${Math.random().toString(36).slice(2, 8)}`);
    try {
      await mkdir(directory);
      await writeFile(join(directory, mount.version === 1 ? 'memory.limit_in_bytes' : 'memory.max'), String(limitMib * 1024 * 1024));
      // Without it the machine would swap where it can.
      await writeFile(join(directory, mount.version === 1 ? 'memory.swappiness' : 'memory.swap.max'), '0').catch(() => undefined);
      return {
        directory,
        take: (pid) => writeFile(join(directory, 'cgroup.procs'), String(pid)),
        close: async () => {
          for (let attempt = 0; attempt < 50; attempt += 1) {
            const isGone = await rmdir(directory).then(
              () => true,
              () => false,
            );
            if (isGone) return;
            await new Promise((resolve) => setTimeout(resolve, 100));
          }
        },
      };
    } catch (error) {
      await rmdir(directory).catch(() => undefined);
      refusals.push(`version ${mount.version}: ${error instanceof Error ? error.message : String(error)}`);
    }
  }
  return { refused: `no memory cgroup with a limit can be made here (${refusals.join('; ') || 'there is no such hierarchy'})` };
}
