import { execFileSync } from 'node:child_process';
import { mkdir, readdir, rename, symlink, utimes, writeFile } from 'node:fs/promises';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { createUpkeep } from '../../../src/adapters/host/upkeep.ts';
import type { FoundFile } from '../../../src/domain/upkeep/upkeep.ts';
import { type TempRoot, tempRoot } from '../../support/temp-root.ts';

const never = new AbortController().signal;
const upkeep = createUpkeep();
const mounts: string[] = [];
let root: TempRoot;
beforeEach(async () => {
  root = await tempRoot();
});
afterEach(async () => {
  for (const mount of mounts.splice(0)) execFileSync('umount', [mount]);
  await root.remove();
});

const put = async (path: string, text = 'x'): Promise<string> => {
  await mkdir(root.at(path, '..'), { recursive: true });
  await writeFile(root.at(path), text);
  return root.at(path);
};
const walk = async (directory = root.path): Promise<readonly FoundFile[]> => {
  const found: FoundFile[] = [];
  for await (const file of upkeep.walk(directory, never)) found.push(file);
  return found.sort((a, b) => (a.path < b.path ? -1 : 1));
};
const isRoot = process.getuid?.() === 0;
/** A small filesystem of its own; needs root. */
const tmpfs = async (name: string, bytes: number): Promise<string> => {
  await mkdir(root.at(name));
  execFileSync('mount', ['-t', 'tmpfs', '-o', `size=${bytes}`, 'none', root.at(name)]);
  mounts.push(root.at(name));
  return root.at(name);
};

describe('walking what is to be cleaned', () => {
  it('finds plain files, with disk use and the time of the last change of any kind', async () => {
    const before = Date.now();
    await put('a.png', 'x'.repeat(10_000));
    await put('deep/er/b.png');
    await utimes(root.at('a.png'), new Date(0), new Date(0));
    const [a, b] = await walk();
    expect(a).toMatchObject({ path: 'a.png', bytes: 12_288 });
    expect(b?.path).toBe('deep/er/b.png');
    // Moved or touched back: it came here just now all the same.
    expect(a?.changedAt).toBeGreaterThanOrEqual(before - 1_000);
  });

  it('follows no link, at the top neither', async () => {
    await put('elsewhere/treasure.png');
    await mkdir(root.at('outputs'));
    await symlink(root.at('elsewhere'), root.at('outputs/link'));
    await symlink(root.at('elsewhere/treasure.png'), root.at('outputs/file'));
    await symlink(root.at('elsewhere'), root.at('top'));
    expect(await walk(root.at('outputs'))).toEqual([]);
    expect(await walk(root.at('top'))).toEqual([]);
    expect(await walk(root.at('none'))).toEqual([]);
  });

  it.skipIf(!isRoot)('enters no other filesystem', async () => {
    await put('mine.png');
    await writeFile(`${await tmpfs('mounted', 1_000_000)}/theirs.png`, 'x');
    expect((await walk()).map((file) => file.path)).toEqual(['mine.png']);
  });
});

describe('removing what was found', () => {
  const only = async (directory: string): Promise<FoundFile> => {
    const [file] = await walk(directory);
    if (file === undefined) throw new Error('nothing was found');
    return file;
  };

  it('removes it, once', async () => {
    await put('outputs/deep/a.png');
    const file = await only(root.at('outputs'));
    expect(await upkeep.removeFound(root.at('outputs'), file)).toBe(true);
    expect(await readdir(root.at('outputs/deep'))).toEqual([]);
    expect(await upkeep.removeFound(root.at('outputs'), file)).toBe(false);
  });

  it('not what was written or replaced since', async () => {
    await put('outputs/a.png');
    const file = await only(root.at('outputs'));
    await writeFile(root.at('outputs/a.png'), 'a new picture');
    expect(await upkeep.removeFound(root.at('outputs'), file)).toBe(false);
    await put('outputs/b.png', 'another');
    const other = await only(root.at('outputs'));
    await rename(root.at('outputs/b.png'), root.at('outputs', other.path));
    expect(await upkeep.removeFound(root.at('outputs'), other)).toBe(false);
    expect(await readdir(root.at('outputs'))).toEqual(['a.png']);
  });

  it('not through a directory that became a link meanwhile', async () => {
    await put('outputs/deep/a.png');
    const file = await only(root.at('outputs'));
    await rename(root.at('outputs/deep'), root.at('moved'));
    await symlink(root.at('moved'), root.at('outputs/deep'));
    expect(await upkeep.removeFound(root.at('outputs'), file)).toBe(false);
    await symlink(root.at('outputs'), root.at('entry'));
    expect(await upkeep.removeFound(root.at('outputs'), { ...file, path: '../moved/a.png' })).toBe(false);
    await rename(root.at('outputs'), root.at('away'));
    await symlink(root.at('moved'), root.at('outputs'));
    expect(await upkeep.removeFound(root.at('outputs'), { ...file, path: 'a.png' })).toBe(false);
    expect(await readdir(root.at('moved'))).toEqual(['a.png']);
  });

  it('takes empty directories away that are old enough, never the one that is named', async () => {
    await put('outputs/full/a.png');
    await mkdir(root.at('outputs/empty/deep'), { recursive: true });
    await symlink(root.at('outputs/full'), root.at('outputs/link'));
    expect(await upkeep.removeEmpty(root.at('outputs'), Date.now() - 60_000)).toBe(0);
    expect(await upkeep.removeEmpty(root.at('outputs'), Date.now() + 60_000)).toBe(2);
    expect((await readdir(root.at('outputs'))).sort()).toEqual(['full', 'link']);
    await mkdir(root.at('bare'));
    expect(await upkeep.removeEmpty(root.at('bare'), Date.now() + 60_000)).toBe(0);
    expect(await readdir(root.path)).toContain('bare');
  });
});

describe('room', () => {
  it.skipIf(!isRoot)('a filesystem tells its space and inodes, also by a path that is not there yet', async () => {
    const mounted = await tmpfs('small', 4 * 1024 * 1024);
    const before = await upkeep.space(mounted);
    expect(before).toMatchObject({ totalBytes: 4 * 1024 * 1024, freeBytes: 4 * 1024 * 1024 });
    expect(before?.freeInodes).toBeGreaterThan(0);
    await writeFile(`${mounted}/a`, Buffer.alloc(3 * 1024 * 1024));
    const after = await upkeep.space(`${mounted}/not/there`);
    expect(after).toMatchObject({ freeBytes: 1024 * 1024, device: before?.device });
    expect((await upkeep.space(root.path))?.device).not.toBe(before?.device);
  });

  const machine = async (files: Readonly<Record<string, string>>) => {
    for (const [path, text] of Object.entries(files)) await put(path, text);
    return createUpkeep({ procRoot: root.at('proc'), sysRoot: root.at('sys') });
  };
  const meminfo = 'MemTotal:       16000000 kB\nMemFree:         1000000 kB\nMemAvailable:    8000000 kB\n';

  it('memory of this machine', async () => {
    const room = await upkeep.memory();
    expect(room.availableBytes).toBeGreaterThan(0);
    expect(room.availableBytes).toBeLessThanOrEqual(room.totalBytes);
  });

  it.each<[string, Readonly<Record<string, string>>, object]>([
    ['no cgroup', {}, { availableBytes: 8_192_000_000, totalBytes: 16_384_000_000, limitedBy: 'machine' }],
    [
      'cgroup v2, its own limit, page cache not counted',
      {
        'proc/self/cgroup': '0::/a/b\n',
        'sys/fs/cgroup/a/b/memory.max': '1000000\n',
        'sys/fs/cgroup/a/b/memory.current': '900000\n',
        'sys/fs/cgroup/a/b/memory.stat': 'anon 1\ninactive_file 300000\n',
      },
      { availableBytes: 400_000, totalBytes: 1_000_000, limitedBy: 'cgroup' },
    ],
    [
      'cgroup v2, a limit above it',
      {
        'proc/self/cgroup': '0::/a/b\n',
        'sys/fs/cgroup/a/b/memory.max': 'max\n',
        'sys/fs/cgroup/a/b/memory.current': '900000\n',
        'sys/fs/cgroup/a/memory.max': '2000000\n',
        'sys/fs/cgroup/a/memory.current': '1900000\n',
      },
      { availableBytes: 100_000, totalBytes: 2_000_000, limitedBy: 'cgroup' },
    ],
    [
      'cgroup v1 in a container that sees only its own',
      {
        'proc/self/cgroup': '5:cpu:/x\n4:memory:/docker/abc\n0::/\n',
        'sys/fs/cgroup/memory/memory.limit_in_bytes': '3000000\n',
        'sys/fs/cgroup/memory/memory.usage_in_bytes': '1000000\n',
      },
      { availableBytes: 2_000_000, totalBytes: 3_000_000, limitedBy: 'cgroup' },
    ],
    [
      'cgroup v1 without limit',
      {
        'proc/self/cgroup': '4:memory:/\n',
        'sys/fs/cgroup/memory/memory.limit_in_bytes': '9223372036854771712\n',
        'sys/fs/cgroup/memory/memory.usage_in_bytes': '1000000\n',
      },
      { limitedBy: 'machine' },
    ],
  ])('memory with %s', async (_what, files, expected) => {
    expect(await (await machine({ 'proc/meminfo': meminfo, ...files })).memory()).toMatchObject(expected);
  });

  it('memory that cannot be read is an error, not a number', async () => {
    await expect((await machine({})).memory()).rejects.toMatchObject({ code: 'FILE_UNREADABLE' });
  });

  const card = (node: string, cpus: string) => ({
    'proc/driver/nvidia/gpus/0000:3B:00.0/information': 'Model: \t\t NVIDIA Test\nGPU UUID: \t GPU-aaaa\n',
    'sys/bus/pci/devices/0000:3b:00.0/numa_node': node,
    'sys/bus/pci/devices/0000:3b:00.0/local_cpulist': cpus,
    'sys/devices/system/cpu/online': '0-63\n',
  });
  it.each([
    ['near a part of the CPUs', card('1\n', '16-31,48-63\n'), 'GPU-aaaa', '16-31,48-63'],
    ['near all', card('0\n', '0-63\n'), 'GPU-aaaa', null],
    ['of a firmware that does not say', card('-1\n', '0-15\n'), 'GPU-aaaa', null],
    ['that is not listed', card('1\n', '0-15\n'), 'GPU-bbbb', null],
    ['without a driver', {}, 'GPU-aaaa', null],
  ])('a card %s', async (_what, files, uuid, expected) => {
    expect(await (await machine(files)).localCpus(uuid)).toBe(expected);
  });
});
