import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { createKernel } from '../../../src/adapters/kernel/kernel.ts';
import { groupDirectory, parseMemoryMounts } from '../../../src/adapters/kernel/memory.ts';
import { memoryGroup } from '../../support/host/memory-group.ts';

let directory: string;
beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'agent-memory-'));
});
afterEach(() => rm(directory, { recursive: true, force: true }));

describe('a process that the OOM killer ends', () => {
  it('is counted in its memory cgroup, before and after', async ({ skip }) => {
    const group = await memoryGroup(64);
    if ('refused' in group) return skip(group.refused);
    const kernel = createKernel();
    // Waits for a line, then takes more than it may have.
    const program = 'input(); x = bytearray(200 * 1024 * 1024); input()';
    const child = spawn('python3', ['-c', program], { stdio: ['pipe', 'ignore', 'ignore'] });
    try {
      await group.take(child.pid ?? 0);
      expect(await kernel.memoryGroup(child.pid ?? 0)).toBe(group.directory);
      const before = await kernel.memoryCounters(group.directory);
      expect(before).toMatchObject({ oomKills: 0, limitBytes: 64 * 1024 * 1024 });
      const ended = once(child, 'exit');
      child.stdin.write('\n');
      expect(await ended).toEqual([null, 'SIGKILL']);
      const after = await kernel.memoryCounters(group.directory);
      expect(after?.oomKills).toBe(1);
      expect(after?.limitHits ?? 0).toBeGreaterThan(before?.limitHits ?? 0);
      // The kernel's log may not be read everywhere, nor show what happens here.
      const line = await kernel.outOfMemoryLine(child.pid ?? 0);
      if (line !== null) expect(line).toContain(`Killed process ${child.pid}`);
    } finally {
      child.kill('SIGKILL');
      await group.close();
    }
  });
});

describe('memory cgroups', () => {
  it('are found in a tree as the kernel shows it, of either version', async () => {
    const kernel = createKernel({ procRoot: directory });
    const mount = join(directory, 'cgroup');
    await mkdir(join(directory, '42'), { recursive: true });
    await mkdir(join(directory, 'self'));
    await mkdir(join(mount, 'comfy.slice'), { recursive: true });
    await writeFile(join(directory, '42/cgroup'), '0::/comfy.slice\n');
    await writeFile(join(directory, 'self/mountinfo'), `31 25 0:27 / ${mount} rw shared:9 - cgroup2 cgroup2 rw,nsdelegate\n`);
    expect(await kernel.memoryGroup(42)).toBeNull();
    await writeFile(join(mount, 'comfy.slice/memory.events'), 'low 0\nhigh 0\nmax 12\noom 2\noom_kill 1\noom_group_kill 0\n');
    await writeFile(join(mount, 'comfy.slice/memory.max'), 'max\n');
    const group = await kernel.memoryGroup(42);
    expect(group).toBe(join(mount, 'comfy.slice'));
    expect(await kernel.memoryCounters(group ?? '')).toEqual({ group, version: 2, oomKills: 1, limitHits: 12, limitBytes: null });
    expect(await kernel.memoryCounters(join(mount, 'nowhere'))).toBeNull();
    expect(await kernel.memoryGroup(43)).toBeNull();
  });

  it('of a container without a cgroup namespace lie below what is mounted', () => {
    const mountinfo = [
      '1 0 0:1 /docker/abc /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory',
      '2 0 0:2 /docker/abc /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu',
      '3 0 0:3 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw',
    ].join('\n');
    const [first, second] = parseMemoryMounts(mountinfo);
    expect(first).toEqual({ version: 1, directory: '/sys/fs/cgroup/memory', root: '/docker/abc' });
    expect(second?.version).toBe(2);
    const cgroup = '5:cpu:/docker/abc/x\n4:memory:/docker/abc/x\n0::/docker/abc/x\n';
    expect(first === undefined ? null : groupDirectory(cgroup, first)).toBe('/sys/fs/cgroup/memory/x');
    expect(first === undefined ? null : groupDirectory('4:memory:/docker/abc\n', first)).toBe('/sys/fs/cgroup/memory');
    expect(first === undefined ? null : groupDirectory('0::/\n', first)).toBeNull();
  });
});

describe('the kernel log', () => {
  it('names the pid that was killed, the newest line of it, and no other', async () => {
    const log = join(directory, 'kmsg');
    const kernel = createKernel({ kernelLog: log });
    expect(await kernel.outOfMemoryLine(42)).toBeNull();
    const seconds = Number.parseFloat(await readFile('/proc/uptime', 'utf8'));
    const line = (pid: number, kilobytes: number, ageSeconds = 1) =>
      `3,1,${Math.round((seconds - ageSeconds) * 1_000_000)},-;Memory cgroup out of memory: Killed process ${pid} (python3) total-vm:${kilobytes}kB\n`;
    await writeFile(log, line(42, 1) + line(421, 2) + line(42, 3) + line(43, 4, 600));
    expect(await kernel.outOfMemoryLine(42)).toBe('Memory cgroup out of memory: Killed process 42 (python3) total-vm:3kB');
    expect(await kernel.outOfMemoryLine(4)).toBeNull();
    // Of another process that had the pid ten minutes ago.
    expect(await kernel.outOfMemoryLine(43)).toBeNull();
  });
});
