import { type ChildProcess, spawn } from 'node:child_process';
import { appendFileSync, openSync } from 'node:fs';
import { readdir, readFile, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, describe, expect, it } from 'vitest';
import { createFiles } from '../../../src/adapters/files/files.ts';
import { keepLogs } from '../../../src/adapters/logs/rotation.ts';
import type { LogWatch } from '../../../src/domain/upkeep/upkeep.ts';
import { eventually } from '../../support/eventually.ts';
import { type TempRoot, tempRoot } from '../../support/temp-root.ts';

const MEBIBYTE = 1024 * 1024;
const children: ChildProcess[] = [];
const watches: LogWatch[] = [];
const roots: TempRoot[] = [];

async function newDirectory(): Promise<string> {
  const root = await tempRoot();
  roots.push(root);
  return root.path;
}

afterEach(async () => {
  for (const child of children.splice(0)) child.kill('SIGKILL');
  await Promise.all(watches.splice(0).map((watch) => watch.close()));
  await Promise.all(roots.splice(0).map((root) => root.remove()));
});

const watching = (logs: readonly string[], maxBytes: number, keepFiles = 1): LogWatch => {
  const watch = keepLogs(() => ({ logs, maxBytes, keepFiles }));
  watches.push(watch);
  return watch;
};

const sizes = async (directory: string): Promise<number> => {
  const names = await readdir(directory);
  const facts = await Promise.all(names.map((name) => stat(join(directory, name)).catch(() => null)));
  return facts.reduce((sum, each) => sum + (each?.size ?? 0), 0);
};

/** A process that writes numbered lines to its standard output, which is the log opened for appending. */
function writer(log: string, script: string): ChildProcess {
  const child = spawn('/bin/sh', ['-c', `exec >>"$1" 2>&1; exec python3 -u -c '${script}'`, 'sh', log], {
    stdio: ['pipe', 'ignore', 'inherit'],
  });
  children.push(child);
  return child;
}

describe('rotation of logs that their writers keep open', () => {
  it('keeps a process that floods within twice its budget, and its newest lines', async () => {
    const directory = await newDirectory();
    const log = join(directory, 'a.log');
    const watch = watching([log], 50 * MEBIBYTE);
    writer(log, 'import os\nline = b"x" * 199 + b"\\n"\nwhile True: os.write(1, line * 40)');
    let largest = 0;
    const end = performance.now() + 6_000;
    while (performance.now() < end) {
      largest = Math.max(largest, await sizes(directory));
      await new Promise((done) => setTimeout(done, 5));
    }
    const growth = watch.growth(log);
    // It did flood, or this proves nothing.
    expect(growth?.bytesPerSecond).toBeGreaterThan(20 * MEBIBYTE);
    expect(growth?.cutBytes).toBeGreaterThan(50 * MEBIBYTE);
    expect(largest).toBeLessThan(2 * 2 * 50 * MEBIBYTE);
    // Just after a cut it is empty.
    const newest = await eventually('there are lines', async () => (await readFile(log, 'utf8')).slice(0, 200) || null);
    expect(newest).toMatch(/^\[agent\] \d+ bytes of a log flood were cut here\n|^x+\n/);
    const names = (await readdir(directory)).filter((name) => !name.endsWith('.part'));
    expect(names.sort()).toEqual(['a.log', 'a.log.1']);
  });

  it('loses no line of a log that is merely full, and a follower sees each of them once', async () => {
    const directory = await newDirectory();
    const log = join(directory, 'a.log');
    await writeFile(log, '');
    const abort = new AbortController();
    const seen: number[] = [];
    const following = (async () => {
      for await (const line of createFiles().tail(log, { lines: 0, follow: true }, abort.signal)) seen.push(Number(line.split(' ')[0]));
    })();
    watching([log], MEBIBYTE, 3);
    // Some 1.3 MiB: one rotation, with the writer never still.
    writer(log, 'import time\nfor n in range(6000):\n  print(n, "y" * 220)\n  if n % 60 == 0: time.sleep(0.01)');
    await eventually(
      'all lines were followed',
      async () => {
        if (seen.at(-1) !== 5_999) throw new Error(`${seen.length} lines, the last ${seen.at(-1)}`);
        return true;
      },
      20_000,
    );
    abort.abort();
    await following;
    expect(seen).toEqual(Array.from({ length: 6_000 }, (_, index) => index));
    const text = (await readFile(`${log}.1`, 'utf8')) + (await readFile(log, 'utf8'));
    expect(
      text
        .trim()
        .split('\n')
        .map((line) => Number(line.split(' ')[0])),
    ).toEqual(seen);
    expect((await stat(log)).size).toBeLessThan(MEBIBYTE);
    const newest: string[] = [];
    for await (const line of createFiles().tail(log, { lines: 5_900, follow: false }, new AbortController().signal)) newest.push(line);
    expect(newest.map((line) => Number(line.split(' ')[0]))).toEqual(seen.slice(-5_900));
  });

  it('keeps as many older files as asked, the newest first', async () => {
    const directory = await newDirectory();
    const log = join(directory, 'a.log');
    await writeFile(`${log}.1`, 'second\n');
    await writeFile(`${log}.2`, 'first\n');
    await writeFile(log, 'z'.repeat(2_000));
    watching([log], 1_000, 2);
    await eventually('it was begun anew', async () => {
      return (await stat(log)).size === 0;
    });
    await eventually('the copy is in place', async () => (await readFile(`${log}.1`, 'utf8')).length === 2_000);
    expect(await readFile(`${log}.2`, 'utf8')).toBe('second\n');
    expect((await readdir(directory)).sort()).toEqual(['a.log', 'a.log.1', 'a.log.2']);
  });

  it('a reader is not fooled by a log that was cut and has grown past where it was', async () => {
    const directory = await newDirectory();
    const log = join(directory, 'a.log');
    await writeFile(log, 'one\n');
    const abort = new AbortController();
    const seen: string[] = [];
    const following = (async () => {
      for await (const line of createFiles().tail(log, { lines: 1, follow: true }, abort.signal)) seen.push(line);
    })();
    await eventually('the first line is seen', async () => seen.length === 1);
    const file = openSync(log, 'w');
    appendFileSync(file, 'two is longer\n');
    await eventually('the second is', async () => seen.length === 2);
    abort.abort();
    await following;
    expect(seen).toEqual(['one', 'two is longer']);
  });

  it('what is not there, or no file, is left alone', async () => {
    const directory = await newDirectory();
    const watch = watching([join(directory, 'none.log'), directory], 10);
    await new Promise((done) => setTimeout(done, 250));
    expect(watch.growth(join(directory, 'none.log'))).toBeNull();
    expect(await readdir(directory)).toEqual([]);
  });
});
