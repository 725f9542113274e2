import { describe, expect, it } from 'vitest';
import { PROVIDER_NAMES } from '../../../../src/cli/verbs/agent.ts';
import { type BlockDevice, planVolume, readBlockDevices, readSignatures, withSignatures } from '../../../../src/plan/host/block-volume.ts';
import { PROVIDER_PROFILES, providerProfile } from '../../../../src/plan/host/provider-profiles.ts';

const UUID = '3f1b0c5e-8a54-4f57-9f0e-1b2c3d4e5f60';
const disk = (path: string, change: Partial<BlockDevice> = {}): BlockDevice => ({
  path,
  type: 'disk',
  size: 1e12,
  fstype: null,
  pttype: null,
  uuid: null,
  mountpoint: null,
  ro: false,
  ...change,
});
const system = disk('/dev/vda', {
  pttype: 'gpt',
  children: [disk('/dev/vda1', { type: 'part', fstype: 'ext4', uuid: UUID, mountpoint: '/' })],
});
const volume = disk('/dev/vdb', { fstype: 'ext4', uuid: UUID });
const question = { fstab: '', mountPoint: '/mnt/comfyui', device: null, mayFormat: false };

describe('which block volume is used', () => {
  it.each([
    [
      'one with a file system is mounted by UUID',
      [system, volume],
      {},
      { do: 'mount', device: '/dev/vdb', uuid: UUID, fstype: 'ext4', addToFstab: true },
    ],
    [
      'its entry is written once',
      [system, volume],
      { fstab: `UUID=${UUID} /mnt/comfyui ext4 defaults 0 2\n` },
      { do: 'mount', addToFstab: false },
    ],
    ['a comment is no entry', [system, volume], { fstab: `# UUID=x /mnt/comfyui ext4\n` }, { do: 'mount', addToFstab: true }],
    [
      'one that is mounted there stays',
      [system, disk('/dev/vdc', { fstype: 'xfs', mountpoint: '/mnt/comfyui' })],
      {},
      { do: 'nothing', device: '/dev/vdc' },
    ],
    [
      'an empty one is formatted when that was confirmed',
      [system, disk('/dev/vdb')],
      { mayFormat: true },
      { do: 'format', device: '/dev/vdb' },
    ],
    [
      'a partition can be named',
      [disk('/dev/vdb', { pttype: 'gpt', children: [{ ...volume, path: '/dev/vdb1', type: 'part' }] })],
      { device: '/dev/vdb1' },
      { do: 'mount' },
    ],
  ] as const)('%s', (_name, devices, change, plan) => {
    expect(planVolume({ ...question, ...change, devices })).toMatchObject(plan);
  });

  it.each([
    ['an empty one without a word', [system, disk('/dev/vdb')], {}, /is empty.*--format/s],
    ['the disk of the system', [system], { mayFormat: true }, /no free block volume/],
    ['the disk of the system by name', [system], { device: '/dev/vda', mayFormat: true }, /has partitions/],
    ['its partition by name', [system], { device: '/dev/vda1', mayFormat: true }, /is mounted at \//],
    ['one of several', [system, volume, disk('/dev/vdc')], { mayFormat: true }, /\/dev\/vdb and \/dev\/vdc are free.*--device/s],
    ['one that is mounted elsewhere', [system, { ...volume, mountpoint: '/data' }], { device: '/dev/vdb' }, /mounted at \/data/],
    ['a partition table without partitions', [system, disk('/dev/vdb', { pttype: 'gpt' })], { mayFormat: true }, /has partitions/],
    ['what is no file system', [system, disk('/dev/vdb', { fstype: 'LVM2_member', uuid: UUID })], { mayFormat: true }, /holds LVM2_member/],
    ['one that cannot be written', [system, { ...volume, ro: true }], { device: '/dev/vdb' }, /read-only/],
    ['an entry for another volume', [system, volume], { fstab: 'LABEL=data /mnt/comfyui ext4 defaults 0 2' }, /fstab mounts LABEL=data/],
    ['a name that a shell could read', [system, disk('/dev/vdb;reboot')], { mayFormat: true }, /no path of a device/],
    ['what is not there', [system], { device: '/dev/vdz' }, /no block device \/dev\/vdz/],
  ] as const)('refuses %s', (_name, devices, change, words) => {
    const refused = () => planVolume({ ...question, ...change, devices });
    expect(refused).toThrow(expect.objectContaining({ code: 'VOLUME_REFUSED' }));
    try {
      refused();
    } catch (error) {
      expect(`${(error as Error).message} ${(error as { help: string }).help}`).toMatch(words);
    }
  });

  it('reads lsblk, of old and new util-linux', () => {
    const row = { path: '/dev/vdb', type: 'disk', size: '1000', fstype: null, pttype: null, uuid: null, mountpoint: null, ro: '0' };
    expect(readBlockDevices(JSON.stringify({ blockdevices: [row] }))).toEqual([disk('/dev/vdb', { size: 1_000 })]);
    expect(readBlockDevices(JSON.stringify({ blockdevices: [{ ...row, size: 1_000, ro: false }] }))).toEqual([
      disk('/dev/vdb', { size: 1_000 }),
    ]);
    expect(() => readBlockDevices('lsblk: unknown column')).toThrow(expect.objectContaining({ code: 'VOLUME_REFUSED' }));
  });
});

describe('what a device holds', () => {
  it('is what udev or the device itself tells', () => {
    const text = `DEVICE=/dev/vdb\nDEVNAME=/dev/vdb\nUUID=${UUID}\nTYPE=ext4\nDEVICE=/dev/vdc\nDEVICE=/dev/vda\nPTTYPE=gpt\n`;
    const devices = withSignatures([disk('/dev/vda'), disk('/dev/vdb'), disk('/dev/vdc')], readSignatures(text));
    expect(devices.map(({ fstype, uuid, pttype }) => [fstype, uuid, pttype])).toEqual([
      [null, null, 'gpt'],
      ['ext4', UUID, null],
      [null, null, null],
    ]);
  });
});

describe('providers', () => {
  it('are those that the command line names', () => expect(PROVIDER_PROFILES.map(({ name }) => name)).toEqual([...PROVIDER_NAMES]));
  it('are found by name', () => {
    expect(providerProfile(null)).toBeNull();
    expect(providerProfile('lambda')).toMatchObject({ root: '/home/ubuntu/comfyui', volume: null });
    expect(() => providerProfile('lamda')).toThrow('there is no provider "lamda"');
  });
});
