import { z } from 'zod';
import { AgentError } from '../../domain/errors/errors.ts';

/** Which block volume is used, and what has to be done with it. What holds anything, or might, is never formatted. */

const Device: z.ZodType<BlockDevice> = z.lazy(() =>
  z.object({
    path: z.string(),
    type: z.string(),
    size: z.coerce.number(),
    fstype: z.string().nullable(),
    pttype: z.string().nullish(),
    uuid: z.string().nullable(),
    mountpoint: z.string().nullable(),
    ro: z.union([z.boolean(), z.literal('0'), z.literal('1')]).transform((value) => value === true || value === '1'),
    children: z.array(Device).optional(),
  }),
) as z.ZodType<BlockDevice>;

export interface BlockDevice {
  readonly path: string;
  readonly type: string;
  readonly size: number;
  readonly fstype: string | null;
  readonly pttype?: string | null | undefined;
  readonly uuid: string | null;
  readonly mountpoint: string | null;
  readonly ro: boolean;
  readonly children?: readonly BlockDevice[] | undefined;
}

/** Columns that `readBlockDevices` expects of `lsblk --json --bytes --output`. */
export const LSBLK_COLUMNS = 'PATH,TYPE,SIZE,FSTYPE,PTTYPE,UUID,MOUNTPOINT,RO';

/** @throws AgentError VOLUME_REFUSED for what is no answer of lsblk */
export function readBlockDevices(text: string): readonly BlockDevice[] {
  try {
    return z.object({ blockdevices: z.array(Device) }).parse(JSON.parse(text)).blockdevices;
  } catch (error) {
    throw new AgentError('VOLUME_REFUSED', 'lsblk does not tell what block devices there are', {
      help: 'nothing was changed; run `lsblk` there by hand',
      cause: error,
    });
  }
}

type Signature = Pick<BlockDevice, 'fstype' | 'uuid' | 'pttype'>;

/** Output of `blkid -p -o export`, after a line `DEVICE=path` for each. */
export function readSignatures(text: string): ReadonlyMap<string, Signature> {
  const found = new Map<string, Record<string, string>>();
  let current: Record<string, string> = {};
  for (const line of text.split('\n')) {
    const [, name = '', value = ''] = /^(\w+)=(.*)$/.exec(line.trim()) ?? [];
    if (name === 'DEVICE') {
      current = {};
      found.set(value, current);
    } else if (name !== '') current[name] = value;
  }
  return new Map(
    [...found].map(([path, { TYPE, UUID: uuid, PTTYPE }]) => [path, { fstype: TYPE ?? null, uuid: uuid ?? null, pttype: PTTYPE ?? null }]),
  );
}

/** What either of the two knows. */
export const withSignatures = (devices: readonly BlockDevice[], signatures: ReadonlyMap<string, Signature>): BlockDevice[] =>
  devices.map((device) => {
    const read = signatures.get(device.path);
    return {
      ...device,
      fstype: device.fstype ?? read?.fstype ?? null,
      uuid: device.uuid ?? read?.uuid ?? null,
      pttype: device.pttype ?? read?.pttype ?? null,
      ...(device.children === undefined ? {} : { children: withSignatures(device.children, signatures) }),
    };
  });

export type VolumePlan =
  | { readonly do: 'nothing'; readonly device: string }
  | { readonly do: 'mount'; readonly device: string; readonly uuid: string; readonly fstype: string; readonly addToFstab: boolean }
  | { readonly do: 'format'; readonly device: string; readonly size: number };

export interface VolumeQuestion {
  readonly devices: readonly BlockDevice[];
  readonly fstab: string;
  readonly mountPoint: string;
  /** Named by the operator; null: the only free one. */
  readonly device: string | null;
  /** The operator said that an empty volume may be formatted. */
  readonly mayFormat: boolean;
}

const FILESYSTEMS = ['ext4', 'xfs'];
const UUID = /^[0-9a-fA-F-]{8,40}$/;
const DEVICE = /^\/dev\/[\w/-]+$/;

/** @throws AgentError VOLUME_REFUSED with what is in the way */
export function planVolume({ devices, fstab, mountPoint, device, mayFormat }: VolumeQuestion): VolumePlan {
  const all = devices.flatMap((each) => [each, ...(each.children ?? [])]);
  const mounted = all.find((each) => each.mountpoint === mountPoint);
  if (mounted !== undefined) return { do: 'nothing', device: mounted.path };
  const chosen = device === null ? onlyFree(devices) : all.find(({ path }) => path === device);
  if (chosen === undefined)
    throw refuse(`there is no block device ${device}`, `there are ${all.map(({ path }) => path).join(', ') || 'none'}`);
  const { path, fstype, uuid } = chosen;
  if (!DEVICE.test(path)) throw refuse(`${JSON.stringify(path)} is no path of a device`, 'name another with --device');
  if (chosen.mountpoint !== null) throw refuse(`${path} is mounted at ${chosen.mountpoint}`, 'name another with --device');
  if (chosen.ro) throw refuse(`${path} is read-only`, 'attach it for writing');
  if ((chosen.children ?? []).length > 0 || chosen.pttype != null)
    throw refuse(`${path} has partitions`, 'name one of them with --device, or empty the volume yourself');
  if (fstype === null) {
    if (uuid !== null) throw refuse(`${path} holds something that is no file system`, 'empty it yourself if it may be lost');
    if (!mayFormat) throw refuse(`${path} is empty`, '--format formats it with ext4');
    return { do: 'format', device: path, size: chosen.size };
  }
  if (!FILESYSTEMS.includes(fstype))
    throw refuse(`${path} holds ${fstype}`, `only ${FILESYSTEMS.join(' and ')} are mounted; it was not touched`);
  if (uuid === null || !UUID.test(uuid)) throw refuse(`${path} has no UUID`, 'it cannot be mounted in a way that survives a restart');
  return { do: 'mount', device: path, uuid, fstype, addToFstab: !hasEntry(fstab, mountPoint, uuid) };
}

function onlyFree(devices: readonly BlockDevice[]): BlockDevice {
  const free = devices.filter(
    (each) =>
      each.type === 'disk' &&
      each.size > 0 &&
      !each.ro &&
      each.mountpoint === null &&
      (each.children ?? []).length === 0 &&
      each.fstype !== 'swap',
  );
  const [first, ...others] = free;
  if (first === undefined) throw refuse('there is no free block volume', 'attach one; the disk of the system is not used');
  if (others.length > 0) throw refuse(`${free.map(({ path }) => path).join(' and ')} are free`, 'name one with --device');
  return first;
}

/** @throws AgentError VOLUME_REFUSED when another volume is to be mounted there */
function hasEntry(fstab: string, mountPoint: string, uuid: string): boolean {
  const entry = fstab
    .split('\n')
    .map((line) => line.trim().split(/\s+/))
    .find(([what = '', where]) => !what.startsWith('#') && where === mountPoint);
  if (entry === undefined) return false;
  if (entry[0] === `UUID=${uuid}`) return true;
  throw refuse(`/etc/fstab mounts ${entry[0]} at ${mountPoint}`, 'correct the entry, or remove it');
}

/** `nofail`: a machine whose volume is away still boots, and can be looked at. */
export const fstabLine = (uuid: string, mountPoint: string, fstype: string): string =>
  `UUID=${uuid} ${mountPoint} ${fstype} defaults,nofail 0 2`;

const refuse = (message: string, help: string): AgentError =>
  new AgentError('VOLUME_REFUSED', message, { help: `nothing was changed; ${help}` });
