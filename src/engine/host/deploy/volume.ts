import {
  type BlockDevice,
  fstabLine,
  LSBLK_COLUMNS,
  planVolume,
  readBlockDevices,
  readSignatures,
  type VolumePlan,
  withSignatures,
} from '../../../plan/host/block-volume.ts';

/** Runs a script of ours as root on the other side, and gives its output. @throws AgentError */
export type RunAsRoot = (what: string, script: string) => Promise<string>;

export interface VolumeWish {
  readonly mountPoint: string;
  readonly device: string | null;
  readonly mayFormat: boolean;
}

const SIGNATURES =
  'for each in $(lsblk --noheadings --raw --paths --output PATH); do echo "DEVICE=$each"; blkid -p -o export "$each" || true; done';

/** What would be done. @throws AgentError VOLUME_REFUSED */
export async function lookAtVolume(run: RunAsRoot, { mountPoint, device, mayFormat }: VolumeWish): Promise<VolumePlan> {
  const devices: readonly BlockDevice[] = readBlockDevices(await run('lsblk', `lsblk --json --bytes --output ${LSBLK_COLUMNS}`));
  // lsblk tells what udev knows, which may be nothing; blkid reads the device.
  const signatures = readSignatures(await run('blkid', SIGNATURES));
  const fstab = await run('reading /etc/fstab', 'cat /etc/fstab 2>/dev/null || true');
  return planVolume({ devices: withSignatures(devices, signatures), fstab, mountPoint, device, mayFormat });
}

/** The volume at its mount point, now and after a restart. Devices and UUIDs are of a form that cannot mean anything to a shell. */
export async function mountVolume(run: RunAsRoot, wish: VolumeWish): Promise<VolumePlan> {
  let plan = await lookAtVolume(run, wish);
  if (plan.do === 'format') {
    await run(`formatting ${plan.device}`, formatScript(plan.device));
    plan = await lookAtVolume(run, { ...wish, device: plan.device, mayFormat: false });
  }
  if (plan.do === 'mount') await run(`mounting ${plan.device}`, mountScript(plan, wish.mountPoint));
  return plan;
}

/** Looks once more, on the device itself: no signature of anything, and nothing but zeros where file systems begin. */
const formatScript = (device: string): string =>
  [
    'set -eu',
    `test -b ${device}`,
    `test -z "$(wipefs --no-act --parsable ${device} 2>/dev/null | grep -v '^#')" || { echo "${device} is not empty" >&2; exit 1; }`,
    `cmp -s -n 1048576 ${device} /dev/zero || { echo "${device} is not empty" >&2; exit 1; }`,
    `mkfs.ext4 -q -m 0 ${device} </dev/null`,
    'udevadm settle 2>/dev/null || true',
  ].join('\n');

const mountScript = ({ uuid, fstype, addToFstab }: VolumePlan & { do: 'mount' }, mountPoint: string): string =>
  [
    'set -eu',
    `mkdir -p ${mountPoint}`,
    ...(addToFstab
      ? [
          'umask 022',
          'cp -p /etc/fstab /etc/fstab.agent-new 2>/dev/null || : > /etc/fstab.agent-new',
          `printf '%s\\n' '${fstabLine(uuid, mountPoint, fstype)}' >> /etc/fstab.agent-new`,
          'mv -f /etc/fstab.agent-new /etc/fstab',
        ]
      : []),
    `mount -t ${fstype} UUID=${uuid} ${mountPoint}`,
  ].join('\n');
