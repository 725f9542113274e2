import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { createKernel } from '../../../../src/adapters/kernel/kernel.ts';
import { parseListeners } from '../../../../src/adapters/kernel/ports.ts';
import { parseStat } from '../../../../src/adapters/kernel/proc.ts';
import type { Kernel } from '../../../../src/ports/kernel.ts';

const statLine = (pid: number, name: string, state: string, parent: number, startTicks: number): string =>
  `${pid} (${name}) ${state} ${parent} ${pid} ${pid} 0 -1 4194304 100 0 0 0 5 3 0 0 20 0 1 0 ${startTicks} 10000 500 18446744073709551615 1 1 0 0 0 0 0\n`;
const tcpLine = (port: number, state: string, inode: number): string =>
  `   0: 0100007F:${port.toString(16).toUpperCase().padStart(4, '0')} 00000000:0000 ${state} 00000000:00000000 00:00000000 00000000  1000        0 ${inode} 1 0000000000000000 100 0 0 10 0`;
const HEADER = '  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode';

describe('parseStat', () => {
  it.each([
    ['python3', statLine(42, 'python3', 'S', 7, 123)],
    ['a) S 1 (b', statLine(42, 'a) S 1 (b', 'S', 7, 123)],
    [') R 0 0 0', statLine(42, ') R 0 0 0', 'S', 7, 123)],
  ])('reads a process named %j', (name, line) => {
    expect(parseStat(line)).toEqual({ pid: 42, name, state: 'S', parent: 7, group: 42, session: 42, startTicks: '123', cpuTicks: 8 });
  });

  it.each([[''], ['42'], ['42 (cut off'], ['42 (x) S'], ['x (x) S 1 2 3']])('refuses %j', (line) => {
    expect(parseStat(line)).toBeNull();
  });
});

describe('parseListeners', () => {
  it('takes listening sockets only', () => {
    const v6 =
      '   1: 00000000000000000000000000000000:1FFC 00000000000000000000000000000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 77 1 0 100 0 0 10 0';
    expect(parseListeners([HEADER, tcpLine(8188, '0A', 55), tcpLine(8189, '01', 56), v6, ''].join('\n'))).toEqual([
      { tcpPort: 8188, inode: '55' },
      { tcpPort: 8188, inode: '77' },
    ]);
  });
});

describe('createKernel on a recorded /proc', () => {
  let procRoot: string;
  const write = (path: string, content: string): void => {
    mkdirSync(join(procRoot, path, '..'), { recursive: true });
    writeFileSync(join(procRoot, path), content);
  };
  const addProcess = (
    pid: number,
    parent: number,
    options: { state?: string; sockets?: number[] | null; name?: string; startTicks?: number } = {},
  ): void => {
    write(`${pid}/stat`, statLine(pid, options.name ?? 'python3', options.state ?? 'S', parent, options.startTicks ?? 500));
    write(`${pid}/cmdline`, `python3\0-u\0main.py\0`);
    if (options.sockets === null) return;
    mkdirSync(join(procRoot, `${pid}/fd`));
    for (const [fd, inode] of (options.sockets ?? []).entries()) symlinkSync(`socket:[${inode}]`, join(procRoot, `${pid}/fd/${fd}`));
  };
  beforeEach(() => {
    procRoot = mkdtempSync(join(tmpdir(), 'proc-'));
    write('stat', 'cpu  1 2 3\nbtime 1700000000\nprocesses 5\n');
    write('uptime', '12.00 3.00\n');
    write('net/tcp', [HEADER, tcpLine(8188, '0A', 901), tcpLine(8189, '0A', 902), tcpLine(8190, '0A', 903), ''].join('\n'));
  });
  afterEach(() => rmSync(procRoot, { recursive: true, force: true }));

  it('takes the start from btime and ticks where uptime is of another world', async () => {
    addProcess(42, 1, { startTicks: 250 });
    expect(await createKernel({ procRoot }).incarnation(42)).toEqual({
      pid: 42,
      startTicks: '250',
      startedAt: new Date(1_700_000_002_500).toISOString(),
    });
  });

  it('keeps start times where they are while the clock runs on, and moves them when it is set', async () => {
    addProcess(42, 1, { startTicks: 0 });
    const kernel = createKernel({ procRoot });
    const bootedAt = Math.floor(Date.now() / 1_000) - 100;
    write('stat', `btime ${bootedAt}\n`);
    write('uptime', '100.31 0\n');
    const first = await kernel.incarnation(42);
    write('uptime', '100.35 0\n');
    expect(await kernel.incarnation(42)).toEqual(first);
    write('stat', `btime ${bootedAt - 3_600}\n`);
    expect((await kernel.incarnation(42))?.startedAt).toBe(new Date((bootedAt - 3_600) * 1_000).toISOString());
  });

  it.each([['Z'], ['X']])('takes state %s for gone', async (state) => {
    addProcess(42, 1, { state, sockets: [901] });
    const kernel = createKernel({ procRoot });
    expect(await kernel.incarnation(42)).toBeNull();
    expect(await kernel.command(42)).toBeNull();
  });

  it('gives a holder that may not be read without a pid', async () => {
    addProcess(42, 1, { sockets: [5, 901] });
    addProcess(43, 1, { sockets: null });
    const kernel = createKernel({ procRoot });
    expect(await kernel.portHolders([8188, 8189, 9999])).toEqual([
      { tcpPort: 8188, pid: 42, command: 'python3 -u main.py' },
      { tcpPort: 8189, pid: null, command: null },
    ]);
    expect(await kernel.listensOn(42, 8188)).toBe(true);
    expect(await kernel.listensOn(42, 8189)).toBe(false);
    expect(await kernel.listensOn(43, 8189)).toBeNull();
    expect(await kernel.listensOn(43, 9999)).toBe(false);
  });

  it('reads no connections: they follow what listens, and a busy machine has very many', async () => {
    const connections = Array.from({ length: 500 }, (_, index) => tcpLine(40_000 + index, '06', 0));
    write('net/tcp', [HEADER, tcpLine(8188, '0A', 901), ...connections, tcpLine(8189, '0A', 902), ''].join('\n'));
    addProcess(42, 1, { sockets: [901, 902] });
    const kernel = createKernel({ procRoot });
    expect(await kernel.portHolders([8188, 8189])).toMatchObject([{ tcpPort: 8188, pid: 42 }]);
  });

  it('knows a port by its socket again, until that is gone', async () => {
    addProcess(42, 1, { sockets: [5, 901] });
    const kernel = createKernel({ procRoot });
    expect(await kernel.listensOn(42, 8188)).toBe(true);
    rmSync(join(procRoot, 'net'), { recursive: true });
    expect(await kernel.listensOn(42, 8188)).toBe(true);
    rmSync(join(procRoot, '42/fd/1'));
    expect(await kernel.listensOn(42, 8188)).toBeNull();
  });

  it('forgets who held a socket when another has it', async () => {
    addProcess(42, 1, { sockets: [901] });
    const kernel = createKernel({ procRoot });
    expect(await kernel.portHolders([8188])).toMatchObject([{ pid: 42 }]);
    rmSync(join(procRoot, '42'), { recursive: true });
    addProcess(77, 1, { sockets: [901] });
    expect(await kernel.portHolders([8188])).toMatchObject([{ pid: 77 }]);
  });

  it('names one holder for a socket that a child inherited: the parent', async () => {
    addProcess(42, 1, { sockets: [901] });
    addProcess(43, 42, { sockets: [901] });
    expect(await createKernel({ procRoot }).portHolders([8188])).toMatchObject([{ tcpPort: 8188, pid: 42 }]);
  });

  it('does not call a port free when nothing could be read', async () => {
    rmSync(join(procRoot, 'net'), { recursive: true });
    const kernel = createKernel({ procRoot });
    await expect(kernel.portHolders([8188])).rejects.toMatchObject({ code: 'INTERNAL' });
    expect(await kernel.listensOn(42, 8188)).toBeNull();
  });

  describe('of a process that is there and not shown', () => {
    const unreadable = { code: 'FILE_UNREADABLE' };
    const expectUnknown = async (kernel: Kernel, pid: number): Promise<void> => {
      await expect(kernel.incarnation(pid)).rejects.toMatchObject(unreadable);
      await expect(kernel.tree(pid)).rejects.toMatchObject(unreadable);
      await expect(kernel.residentBytes(pid)).rejects.toMatchObject(unreadable);
      await expect(kernel.end({ pid, startTicks: '500' }, 'SIGTERM')).rejects.toMatchObject(unreadable);
      expect(await kernel.command(pid)).toBeNull();
      expect(await kernel.environmentOf(pid, 'PATH')).toBeNull();
    };

    it('says that it cannot tell: hidden', async () => {
      addProcess(10, 1);
      const kernel = createKernel({ procRoot, isThere: (pid) => pid === 4_999_998 });
      await expectUnknown(kernel, 4_999_998);
      expect(await kernel.incarnation(4_999_999)).toBeNull();
      expect(await kernel.tree(4_999_999)).toEqual([]);
      expect(await kernel.tree(10)).toEqual([10]);
    });

    it('says that it cannot tell: there, and not readable', async () => {
      // Reading a directory fails whoever asks, root too.
      mkdirSync(join(procRoot, '10/stat'), { recursive: true });
      addProcess(11, 1);
      const kernel = createKernel({ procRoot, isThere: () => true });
      await expectUnknown(kernel, 10);
      expect(await kernel.tree(11)).toEqual([11]);
    });

    it('calls no port free that a table may hold, and no descriptor foreign that may not be read', async () => {
      addProcess(42, 1, { sockets: [5] });
      mkdirSync(join(procRoot, '42/fd/9'));
      const kernel = createKernel({ procRoot });
      expect(await kernel.listensOn(42, 8188)).toBeNull();
      expect(await kernel.portHolders([8188])).toEqual([{ tcpPort: 8188, pid: null, command: null }]);
      mkdirSync(join(procRoot, 'net/tcp6'));
      await expect(kernel.portHolders([9999])).rejects.toMatchObject({ code: 'INTERNAL' });
      expect(await kernel.listensOn(42, 9999)).toBeNull();
    });
  });

  it('walks a tree of any depth, and not into pids that only look like children', async () => {
    for (const [pid, parent] of [
      [10, 1],
      [11, 10],
      [12, 11],
      [13, 12],
      [20, 1],
    ] as const) {
      addProcess(pid, parent);
    }
    addProcess(14, 10, { state: 'Z' });
    expect(await createKernel({ procRoot }).tree(10)).toEqual([10, 11, 12, 13]);
  });

  it('names a kernel thread', async () => {
    addProcess(2, 0, { name: 'kthreadd' });
    write('2/cmdline', '');
    expect(await createKernel({ procRoot }).command(2)).toBe('[kthreadd]');
  });
});
