import { statfs } from 'node:fs/promises';
import { availableParallelism, cpus, freemem, hostname, release, totalmem, type } from 'node:os';
import { dirname } from 'node:path';
import type { MachineFacts } from '../../domain/cards/gpu.ts';
import type { Inodes } from '../../domain/upkeep/upkeep.ts';

/** systeminformation starts small programs (lscpu, cat) and has no time limit of its own. */
const FACTS_LIMIT_MS = 5_000;
/** A file system whose server is away would hang the call. */
const DISK_LIMIT_MS = 2_000;

type StandingFacts = Pick<MachineFacts, 'os' | 'kernel' | 'cpu' | 'cores'>;
type Memory = Pick<MachineFacts, 'memoryTotalBytes' | 'memoryAvailableBytes'>;

/** Facts about the machine from systeminformation; what does not change while it runs is asked once. */
export function createMachineFacts(): (root: string) => Promise<MachineFacts> {
  let standing: Promise<StandingFacts> | null = null;
  return async (root) => {
    standing ??= within(FACTS_LIMIT_MS, askStandingFacts()).then((facts) => {
      // Asked again next time when it failed or was too slow.
      if (facts === null) standing = null;
      return facts ?? { os: type(), kernel: release(), cpu: cpus()[0]?.model ?? 'unknown', cores: availableParallelism() };
    });
    const [facts, memory, disk] = await Promise.all([standing, within(FACTS_LIMIT_MS, askMemory()), within(DISK_LIMIT_MS, diskOf(root))]);
    return {
      hostname: hostname(),
      ...facts,
      ...(memory ?? { memoryTotalBytes: totalmem(), memoryAvailableBytes: freemem() }),
      diskFreeBytes: disk?.freeBytes ?? null,
      diskTotalBytes: disk?.totalBytes ?? null,
      diskFreeInodes: disk?.inodes?.free ?? null,
      diskTotalInodes: disk?.inodes?.total ?? null,
    };
  };
}

const systeminformation = async () => import('systeminformation');

async function askStandingFacts(): Promise<StandingFacts> {
  const { cpu, osInfo } = await systeminformation();
  const [processor, system] = await Promise.all([cpu(), osInfo()]);
  return {
    os: `${system.distro} ${system.release}`.trim(),
    kernel: system.kernel,
    // Virtual machines often have no brand.
    cpu:
      [processor.manufacturer, processor.brand].filter((word) => word !== '' && word !== 'unknown').join(' ') ||
      (cpus()[0]?.model ?? 'unknown'),
    cores: processor.cores > 0 ? processor.cores : availableParallelism(),
  };
}

async function askMemory(): Promise<Memory> {
  const { mem } = await systeminformation();
  const memory = await mem();
  return { memoryTotalBytes: memory.total, memoryAvailableBytes: memory.available };
}

/** Of the file system that holds the path, or will hold it: the nearest directory that is there. */
async function diskOf(path: string): Promise<{ freeBytes: number; totalBytes: number; inodes: Inodes | null }> {
  try {
    const { bavail, blocks, bsize, files, ffree } = await statfs(path);
    return { freeBytes: bavail * bsize, totalBytes: blocks * bsize, inodes: files === 0 ? null : { free: ffree, total: files } };
  } catch (error) {
    const parent = dirname(path);
    if (parent === path || (error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
    return diskOf(parent);
  }
}

/** null when it fails or takes longer. */
async function within<T>(limitMs: number, work: Promise<T>): Promise<T | null> {
  const { promise: expired, resolve } = Promise.withResolvers<null>();
  const timer = setTimeout(resolve, limitMs, null);
  try {
    return await Promise.race([work, expired]);
  } catch {
    return null;
  } finally {
    clearTimeout(timer);
  }
}
