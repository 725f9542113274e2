import { closeSync, constants, openSync, readSync } from 'node:fs';
import type { MemoryCounters } from '../../domain/instances/memory-group.ts';
import type { Kernel } from '../../ports/kernel.ts';
import { errorCode } from '../files/errors.ts';
import { readOptional } from './proc.ts';

/** Where a cgroup hierarchy is to be found. */
export interface MemoryMount {
  readonly version: 1 | 2;
  readonly directory: string;
  /** Path of the hierarchy that is mounted there: not "/" in a container without a cgroup namespace. */
  readonly root: string;
}

/** The hierarchies that may count memory, version 1 first: on a hybrid machine version 2 has no memory controller. */
export function parseMemoryMounts(mountinfo: string): readonly MemoryMount[] {
  return mountinfo
    .split('\n')
    .flatMap((line): MemoryMount[] => {
      // id parent major:minor root directory options… - type source super-options
      const [before, after] = line.split(' - ');
      const [, , , root, directory] = before?.split(' ') ?? [];
      const [type, , options] = after?.split(' ') ?? [];
      if (root === undefined || directory === undefined) return [];
      if (type === 'cgroup2') return [{ version: 2, directory, root }];
      return type === 'cgroup' && options?.split(',').includes('memory') === true ? [{ version: 1, directory, root }] : [];
    })
    .sort((a, b) => a.version - b.version);
}

/** Directory of a process's group below a mount, from the text of /proc/<pid>/cgroup; null when it is not in that hierarchy. */
export function groupDirectory(cgroup: string, mount: MemoryMount): string | null {
  for (const line of cgroup.split('\n')) {
    const [id, controllers, ...rest] = line.split(':');
    const isThis = mount.version === 2 ? id === '0' && controllers === '' : controllers?.split(',').includes('memory') === true;
    if (!isThis) continue;
    const path = rest.join(':');
    const below = mount.root !== '/' && path.startsWith(mount.root) ? path.slice(mount.root.length) : path;
    return `${mount.directory}${below === '/' ? '' : below}`;
  }
  return null;
}

/** Version 1 says "no limit" with the largest number of pages. */
const NO_LIMIT = 2 ** 62;
/** Records looked at: the ring buffer holds a few thousand. */
const RECORD_LIMIT = 20_000;
const RECENT_SECONDS = 60;
const RECORD_BYTES = 8 * 1024;

/** Out of memory, from what the kernel counts and logs. */
export function createMemoryOfKernel(
  procRoot: string,
  options: { readonly kernelLog?: string },
): Pick<Kernel, 'memoryGroup' | 'memoryCounters' | 'outOfMemoryLine'> {
  const kernelLog = options.kernelLog ?? '/dev/kmsg';

  return {
    async memoryGroup(pid) {
      const cgroup = readOptional(`${procRoot}/${pid}/cgroup`);
      const mounts = readOptional(`${procRoot}/self/mountinfo`);
      if (cgroup === null || mounts === null) return null;
      for (const mount of parseMemoryMounts(mounts)) {
        const directory = groupDirectory(cgroup, mount);
        if (directory !== null && readCounters(directory) !== null) return directory;
      }
      return null;
    },

    memoryCounters: async (group) => readCounters(group),

    async outOfMemoryLine(pid) {
      const uptime = Number.parseFloat(readOptional(`${procRoot}/uptime`) ?? '');
      // An older line is of a process that had this pid before.
      return newestRecord(kernelLog, new RegExp(`\\bKilled process ${pid}\\b`), (uptime - RECENT_SECONDS) * 1_000_000);
    },
  };
}

function readCounters(group: string): MemoryCounters | null {
  const events = readOptional(`${group}/memory.events`);
  if (events !== null) {
    return {
      group,
      version: 2,
      oomKills: numberAfter(events, 'oom_kill'),
      limitHits: numberAfter(events, 'max'),
      limitBytes: toNumber(readOptional(`${group}/memory.max`)),
    };
  }
  const control = readOptional(`${group}/memory.oom_control`);
  if (control === null) return null;
  const limit = toNumber(readOptional(`${group}/memory.limit_in_bytes`));
  return {
    group,
    version: 1,
    oomKills: numberAfter(control, 'oom_kill'),
    limitHits: toNumber(readOptional(`${group}/memory.failcnt`)),
    limitBytes: limit === null || limit >= NO_LIMIT ? null : limit,
  };
}

const toNumber = (text: string | null): number | null => (text !== null && /^\d+$/.test(text.trim()) ? Number(text) : null);

const numberAfter = (text: string, name: string): number | null => toNumber(new RegExp(`^${name} (\\d+)$`, 'm').exec(text)?.[1] ?? null);

/** Newest message of the kernel's log that fits; null when there is none or it may not be read. Each read gives one record, and never waits. */
function newestRecord(file: string, pattern: RegExp, sinceMicroseconds: number): string | null {
  let log: number;
  try {
    log = openSync(file, constants.O_RDONLY | constants.O_NONBLOCK);
  } catch {
    return null;
  }
  const buffer = Buffer.alloc(RECORD_BYTES);
  let found: string | null = null;
  try {
    for (let count = 0; count < RECORD_LIMIT; count += 1) {
      const read = nextRecord(log, buffer);
      if (read === null) break;
      // priority,sequence,microseconds,flags;message
      for (const line of read.split('\n'))
        if (pattern.test(line) && Number(line.split(',')[2]) >= sinceMicroseconds) found = line.slice(line.indexOf(';') + 1).trim();
    }
  } finally {
    closeSync(log);
  }
  return found;
}

/** null: no more. Empty: this one was overwritten while we read. */
function nextRecord(log: number, buffer: Buffer): string | null {
  try {
    const length = readSync(log, buffer);
    return length === 0 ? null : buffer.toString('utf8', 0, length);
  } catch (error) {
    return errorCode(error) === 'EPIPE' ? '' : null;
  }
}
