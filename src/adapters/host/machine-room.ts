import { readdir, readFile, stat, statfs } from 'node:fs/promises';
import { dirname } from 'node:path';
import { AgentError } from '../../domain/errors/errors.ts';
import type { MemoryRoom, Space } from '../../domain/upkeep/upkeep.ts';
import { isAbsent } from '../files/errors.ts';

/** A filesystem whose server is away would hang the call. */
const SPACE_LIMIT_MS = 2_000;

export interface RoomOptions {
  /** Where procfs and sysfs are mounted; other places in tests. */
  readonly procRoot?: string;
  readonly sysRoot?: string;
}

/** Space of the filesystem that holds the path, or will hold it. */
export async function spaceOf(path: string): Promise<Space | null> {
  const { promise: expired, resolve } = Promise.withResolvers<null>();
  const timer = setTimeout(resolve, SPACE_LIMIT_MS, null);
  try {
    return await Promise.race([askSpace(path), expired]);
  } catch {
    return null;
  } finally {
    clearTimeout(timer);
  }
}

async function askSpace(path: string): Promise<Space> {
  try {
    const [space, facts] = await Promise.all([statfs(path), stat(path)]);
    const hasInodes = space.files > 0;
    return {
      freeBytes: space.bavail * space.bsize,
      totalBytes: space.blocks * space.bsize,
      freeInodes: hasInodes ? space.ffree : null,
      totalInodes: hasInodes ? space.files : null,
      device: String(facts.dev),
    };
  } catch (error) {
    const parent = dirname(path);
    if (parent === path || !isAbsent(error)) throw error;
    return askSpace(parent);
  }
}

const text = (path: string): Promise<string | null> => readFile(path, 'latin1').catch(() => null);
const numberIn = (content: string | null): number | null => (content !== null && /^\d+$/.test(content.trim()) ? Number(content) : null);

/** What processes can still get: MemAvailable, or what is left below the nearest limit of the cgroups (v1 and v2) that this process is in. */
export async function memoryRoom({ procRoot = '/proc', sysRoot = '/sys' }: RoomOptions = {}): Promise<MemoryRoom> {
  const facts = (await text(`${procRoot}/meminfo`)) ?? '';
  const kibibytes = (name: string): number | null => {
    const found = new RegExp(`^${name}:\\s+(\\d+) kB$`, 'm').exec(facts)?.[1];
    return found === undefined ? null : Number(found) * 1024;
  };
  const available = kibibytes('MemAvailable') ?? kibibytes('MemFree');
  const total = kibibytes('MemTotal');
  if (available === null || total === null)
    throw new AgentError('FILE_UNREADABLE', `${procRoot}/meminfo does not tell how much memory is available`);
  const machine: MemoryRoom = { availableBytes: available, totalBytes: total, limitedBy: 'machine' };
  const groups = await cgroupRooms(procRoot, sysRoot);
  return groups.reduce((nearest, group) => (group.availableBytes < nearest.availableBytes ? group : nearest), machine);
}

/** Every cgroup from the one of this process upwards that has a limit. In a container the path is often not to be found: then the mount itself is it. */
async function cgroupRooms(procRoot: string, sysRoot: string): Promise<readonly MemoryRoom[]> {
  const rooms: MemoryRoom[] = [];
  for (const line of ((await text(`${procRoot}/self/cgroup`)) ?? '').split('\n')) {
    const [id = '', controllers = '', path = '/'] = line.split(':');
    const isUnified = id === '0' && controllers === '';
    if (!isUnified && !controllers.split(',').includes('memory')) continue;
    const mounts = isUnified ? [`${sysRoot}/fs/cgroup`, `${sysRoot}/fs/cgroup/unified`] : [`${sysRoot}/fs/cgroup/memory`];
    const [limit, usage] = isUnified ? ['memory.max', 'memory.current'] : ['memory.limit_in_bytes', 'memory.usage_in_bytes'];
    for (const mount of mounts)
      for (let at = path; ; at = dirname(at)) {
        const room = await groupRoom(`${mount}${at === '/' ? '' : at}`, limit ?? '', usage ?? '');
        if (room !== null) rooms.push(room);
        if (at === '/' || at === '.') break;
      }
  }
  return rooms;
}

async function groupRoom(directory: string, limitFile: string, usageFile: string): Promise<MemoryRoom | null> {
  const [limit, usage, stats] = await Promise.all([limitFile, usageFile, 'memory.stat'].map((name) => text(`${directory}/${name}`)));
  const totalBytes = numberIn(limit ?? null);
  const used = numberIn(usage ?? null);
  // v1 tells "no limit" by a number near 2^63.
  if (totalBytes === null || used === null || totalBytes > 2 ** 60) return null;
  // Page cache that can be dropped is no pressure; /proc/meminfo counts it as available too.
  const cache = Number(/^(?:total_)?inactive_file (\d+)$/m.exec(stats ?? '')?.[1] ?? 0);
  return { availableBytes: Math.max(0, totalBytes - used + Math.min(cache, used)), totalBytes, limitedBy: 'cgroup' };
}

/** CPUs near a card, by what the driver tells of its place on the bus; null when all are, or it is not known. */
export async function localCpus(uuid: string, { procRoot = '/proc', sysRoot = '/sys' }: RoomOptions = {}): Promise<string | null> {
  const cards = `${procRoot}/driver/nvidia/gpus`;
  for (const bus of await readdir(cards).catch(() => [])) {
    const information = (await text(`${cards}/${bus}/information`)) ?? '';
    if (!information.includes(uuid)) continue;
    const device = `${sysRoot}/bus/pci/devices/${bus.toLowerCase()}`;
    const [node, list, online] = await Promise.all([
      text(`${device}/numa_node`),
      text(`${device}/local_cpulist`),
      text(`${sysRoot}/devices/system/cpu/online`),
    ]);
    const cpus = list?.trim() ?? '';
    // -1: the firmware does not say.
    if ((node ?? '-1').trim() === '-1' || cpus === '' || cpus === online?.trim()) return null;
    return cpus;
  }
  return null;
}
