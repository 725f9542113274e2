import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { appendFile, chmod, mkdir, readdir, rename, rm, stat, symlink, truncate, writeFile } from 'node:fs/promises';
import { pathToFileURL } from 'node:url';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { createFiles } from '../../../src/adapters/files/files.ts';
import { eventually } from '../../support/eventually.ts';
import { type TempRoot, tempRoot } from '../../support/temp-root.ts';

/** What only a real disk and a real kernel can show: modes, permissions, full disks, other processes, editors. */

const files = createFiles();
let root: TempRoot;
beforeEach(async () => {
  root = await tempRoot();
});
afterEach(() => root.remove());

const modeOf = async (path: string): Promise<number> => (await stat(path)).mode & 0o777;

describe('writing', () => {
  // A directory of the kernel that may be written to by root, and takes no links: like vfat.
  it.skipIf(process.getuid?.() !== 0)('says that a filesystem takes no links', async () => {
    await expect(files.link('nowhere', '/dev/pts/agent-link')).rejects.toMatchObject({
      code: 'ROOT_UNSUITABLE',
      message: expect.stringContaining('takes no symbolic links') as string,
      help: expect.stringContaining('--root') as string,
    });
  });

  it('gives a file its mode from the start, whatever the umask', async () => {
    const before = process.umask(0o077);
    try {
      await files.writeText(root.at('secret'), 'x', 0o600);
      await files.writeText(root.at('public'), 'x', 0o644);
    } finally {
      process.umask(before);
    }
    expect(await modeOf(root.at('secret'))).toBe(0o600);
    expect(await modeOf(root.at('public'))).toBe(0o644);
  });

  it('makes only the last directory private, and closes one that was too open', async () => {
    await files.ensureDirectory(root.at('new', 'state'), 0o700);
    expect(await modeOf(root.at('new', 'state'))).toBe(0o700);
    expect((await modeOf(root.at('new'))) & 0o055).toBe(0o055);
    await mkdir(root.at('open'), { mode: 0o755 });
    await files.ensureDirectory(root.at('open'), 0o700);
    expect(await modeOf(root.at('open'))).toBe(0o700);
    await files.ensureDirectory(root.at('open'), 0o755);
    expect(await modeOf(root.at('open'))).toBe(0o700);
  });

  it('is seen whole or not at all by who reads meanwhile', async () => {
    const path = root.at('file');
    const contents = ['a', 'b'].map((letter) => letter.repeat(300_000));
    await files.writeText(path, contents[0] ?? '');
    let isWriting = true;
    const writer = (async () => {
      for (let i = 0; i < 20; i += 1) await files.writeText(path, contents[i % 2] ?? '');
      isWriting = false;
    })();
    let reads = 0;
    for (; isWriting; reads += 1) expect(contents.includes((await files.readText(path)) ?? 'absent')).toBe(true);
    await writer;
    expect(reads).toBeGreaterThan(0);
    expect(await readdir(root.path)).toEqual(['file']);
  });

  it('says in plain words that a disk is full', async () => {
    await expect(files.appendLine('/dev/full', 'x')).rejects.toMatchObject({
      code: 'DISK_FULL',
      message: expect.stringContaining('/dev/full'),
    });
  });

  it.skipIf(process.getuid?.() !== 0)('says that a disk takes no more files although it has space', async () => {
    const small = root.at('small');
    await mkdir(small);
    execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=8m,nr_inodes=4', 'none', small]);
    try {
      for (const name of ['a', 'b', 'c']) await files.writeText(`${small}/${name}`, 'x');
      expect(await files.inodes(small)).toEqual({ free: 0, total: 4 });
      const full = { code: 'DISK_FULL', message: `${small}/d could not be written: the disk takes no more files (0 of 4 inodes free)` };
      await expect(files.writeText(`${small}/d`, 'x')).rejects.toMatchObject(full);
      await expect(files.ensureDirectory(`${small}/d`)).rejects.toMatchObject(full);
    } finally {
      execFileSync('umount', [small]);
    }
  });

  it('says in plain words that permission is denied, and leaves nothing behind', async () => {
    await chmod(root.path, 0o755);
    await mkdir(root.at('theirs'), { mode: 0o755 });
    await writeFile(root.at('theirs', 'private'), 'x', { mode: 0o600 });
    await mkdir(root.at('theirs', 'closed'), { mode: 0o700 });
    await asNobody(root.at('theirs'), async () => {
      const path = root.at('theirs', 'file');
      const denied = { code: 'ROOT_NOT_WRITABLE', message: `${path} could not be written: permission denied` };
      await expect(files.writeText(path, 'x')).rejects.toMatchObject(denied);
      await expect(files.ensureDirectory(path)).rejects.toMatchObject(denied);
      await expect(files.link('x', path)).rejects.toMatchObject(denied);
      const unreadable = { code: 'FILE_UNREADABLE', message: expect.stringMatching(/permission denied$/) };
      await expect(files.readText(root.at('theirs', 'private'))).rejects.toMatchObject(unreadable);
      await expect(files.list(root.at('theirs', 'closed'))).rejects.toMatchObject(unreadable);
      await expect(files.exists(root.at('theirs', 'closed', 'x'))).rejects.toMatchObject(unreadable);
    });
    expect((await readdir(root.at('theirs'))).toSorted()).toEqual(['closed', 'private']);
  });

  it('copies over links that lead nowhere and keeps modes', async () => {
    await mkdir(root.at('from', 'bin'), { recursive: true });
    await writeFile(root.at('from', 'bin', 'tool'), '#!/bin/sh\n', { mode: 0o755 });
    await symlink('/nowhere', root.at('from', 'link'));
    for (const overwrite of [true, true, false]) await files.copyTree(root.at('from'), root.at('to'), { overwrite });
    expect(await modeOf(root.at('to', 'bin', 'tool'))).toBe(0o755);
    expect(await files.readLink(root.at('to', 'link'))).toBe('/nowhere');
    expect((await readdir(root.at('to'))).toSorted()).toEqual(['bin', 'link']);
  });

  it('a digest can be interrupted', async () => {
    await writeFile(root.at('model'), Buffer.alloc(4 * 1024 * 1024));
    await expect(files.digest(root.at('model'), AbortSignal.abort())).rejects.toMatchObject({ code: 'INTERRUPTED' });
  });
});

/** Root may do all, so it steps back; an ordinary user loses the right to write. */
async function asNobody(directory: string, work: () => Promise<void>): Promise<void> {
  const { geteuid, seteuid } = process;
  if (geteuid?.() === 0) {
    seteuid?.(65_534);
    try {
      return await work();
    } finally {
      seteuid?.(0);
    }
  }
  await chmod(`${directory}/private`, 0);
  await chmod(`${directory}/closed`, 0);
  await chmod(directory, 0o555);
  try {
    await work();
  } finally {
    await chmod(directory, 0o755);
    await chmod(`${directory}/closed`, 0o700);
  }
}

describe('lock', () => {
  const children: ChildProcess[] = [];
  afterEach(() => {
    for (const child of children.splice(0)) child.kill('SIGKILL');
  });

  /** A process of its own that takes the lock, says how it went, and holds on. */
  function contender(path: string, owner: string): { readonly child: ChildProcess; readonly said: Promise<string> } {
    const module = pathToFileURL(new URL('../../../src/adapters/files/lock.ts', import.meta.url).pathname).href;
    const script = `import(${JSON.stringify(module)}).then(({ takeLock }) => takeLock(${JSON.stringify(path)}, ${JSON.stringify(owner)}))
      .then(() => console.log('taken'), (error) => console.log(error.code + ': ' + error.message)); setInterval(() => {}, 1000);`;
    const child = spawn(process.execPath, ['--no-warnings', '-e', script], { stdio: ['ignore', 'pipe', 'inherit'] });
    children.push(child);
    return { child, said: new Promise((resolve) => child.stdout.once('data', (chunk) => resolve(String(chunk).trim()))) };
  }

  it('is given to one of several that race, who names itself to the others', async () => {
    const path = root.at('.lock');
    const said = await Promise.all(['one', 'two', 'three'].map((owner) => contender(path, owner).said));
    expect(said.filter((line) => line === 'taken')).toHaveLength(1);
    const refused = said.filter((line) => line !== 'taken');
    expect(refused).toHaveLength(2);
    for (const line of refused) expect(line).toMatch(/^ROOT_LOCKED: \S+ is in use by (one|two|three) \(pid \d+\)$/);
  });

  it('dies with its process, killed or not, and holds for every path that leads there', async () => {
    await symlink(root.path, root.at('alias'));
    const { child, said } = contender(root.at('.lock'), 'agent run');
    expect(await said).toBe('taken');
    await expect(files.lock(root.at('alias', '.lock'), 'me')).rejects.toThrow(`agent run (pid ${child.pid})`);
    child.kill('SIGKILL');
    const lock = await eventually('the lock is free', () => files.lock(root.at('.lock'), 'me'));
    await lock.release();
  });

  it('is held by one that hangs too, though it cannot say who it is', async () => {
    const { child, said } = contender(root.at('.lock'), 'agent run');
    expect(await said).toBe('taken');
    child.kill('SIGSTOP');
    await expect(files.lock(root.at('.lock'), 'me')).rejects.toMatchObject({
      code: 'ROOT_LOCKED',
      message: `${root.path} is in use by a process that does not say who it is`,
    });
  });
});

describe('tail', () => {
  const read = async (lines: number): Promise<string[]> => {
    const seen: string[] = [];
    for await (const line of files.tail(root.at('log'), { lines, follow: false }, new AbortController().signal)) seen.push(line);
    return seen;
  };

  it('counts a last line without an end, splits at carriage returns, keeps empty lines', async () => {
    await writeFile(root.at('log'), 'one\r\ntwo\n\n10%\r20%\rlast');
    expect(await read(2)).toEqual(['20%', 'last']);
    expect(await read(100)).toEqual(['one', 'two', '', '10%', '20%', 'last']);
  });

  it('reads the end of a big file, characters whole', async () => {
    await writeFile(root.at('log'), Array.from({ length: 40_000 }, (_, index) => `${index} ${'ä€😀'.repeat(9)}`).join('\n'));
    const lines = await read(10_000);
    expect(lines).toHaveLength(10_000);
    expect(lines[0]).toBe(`30000 ${'ä€😀'.repeat(9)}`);
    expect(lines.every((line) => line.endsWith('ä€😀'))).toBe(true);
  });

  it('hands a line that never ends on in parts, so that it is not kept', async () => {
    const stop = new AbortController();
    await writeFile(root.at('log'), 'begin\n');
    const parts: string[] = [];
    for await (const line of files.tail(root.at('log'), { lines: 1, follow: true }, stop.signal)) {
      if (line === 'begin') await appendFile(root.at('log'), 'x'.repeat(300_000));
      else parts.push(line);
      if (parts.join('').length > 200_000) break;
    }
    expect(Math.max(...parts.map((part) => part.length))).toBeLessThanOrEqual(128 * 1024);
  });

  it('loses and doubles nothing over parts, rotation, removal and truncation', async () => {
    const path = root.at('log');
    const stop = new AbortController();
    const seen: string[] = [];
    const reader = (async () => {
      for await (const line of files.tail(path, { lines: 10, follow: true }, stop.signal)) seen.push(line);
    })();
    const expected: string[] = [];
    const until = async (...lines: string[]): Promise<void> => {
      expected.push(...lines);
      await eventually(`${expected} of ${seen}`, () => seen.length >= expected.length);
      expect(seen).toEqual(expected);
    };
    try {
      await writeFile(path, 'whole\nhal');
      await until('whole');
      const euro = Buffer.from('€');
      await appendFile(path, Buffer.concat([Buffer.from('f '), euro.subarray(0, 1)]));
      await appendFile(path, Buffer.concat([euro.subarray(1), Buffer.from('\r\n')]));
      await until('half €');
      // The last line of the old file comes in the same moment as the rotation.
      await appendFile(path, 'before rotation\nno end');
      await rename(path, `${path}.1`);
      await writeFile(path, 'after rotation\n');
      await until('before rotation', 'no end', 'after rotation');
      await rm(path);
      await writeFile(path, 'after removal, and longer than that\n');
      await until('after removal, and longer than that');
      await truncate(path, 0);
      await appendFile(path, 'truncated\n');
      await until('truncated');
    } finally {
      stop.abort();
    }
    await reader;
  });

  it('ends at once when it is aborted or left', async () => {
    await writeFile(root.at('log'), 'a\nb\n');
    for await (const line of files.tail(root.at('log'), { lines: 2, follow: true }, new AbortController().signal)) {
      expect(line).toBe('a');
      break;
    }
    for await (const line of files.tail(root.at('log'), { lines: 2, follow: true }, AbortSignal.abort()))
      expect(['a', 'b']).toContain(line);
  });
});

describe('watch', () => {
  it('notices what editors do: a rename over the file, in place, and through a new directory', async () => {
    const path = root.at('config', 'agent.yaml');
    await mkdir(root.at('config'));
    await writeFile(path, 'a: 1\n');
    const told: string[] = [];
    const watch = await files.watch([path], (each) => told.push(each));
    const until = () => eventually('a change is told', () => told.splice(0).length > 0);
    try {
      for (const round of [1, 2, 3]) {
        await writeFile(`${path}.swp`, `a: ${round}\n`);
        await rename(`${path}.swp`, path);
        await until();
      }
      await appendFile(path, 'b: 1\n');
      await until();
    } finally {
      await watch.close();
    }
  });

  it('makes one call of a burst, and none for neighbours', async () => {
    const path = root.at('agent.yaml');
    await writeFile(path, '');
    const told: string[] = [];
    const watch = await files.watch([path, root.at('sentinel')], (each) => told.push(each));
    try {
      await writeFile(root.at('neighbour'), 'x');
      for (let i = 0; i < 10; i += 1) await appendFile(path, 'x');
      await eventually('the burst is told', () => told.length > 0);
      await writeFile(root.at('sentinel'), 'x');
      await eventually('the sentinel is told', () => told.includes(root.at('sentinel')));
      expect(told.filter((each) => each === path).length).toBeLessThan(4);
      expect(told).not.toContain(root.at('neighbour'));
    } finally {
      await watch.close();
    }
  });
});
