import { createHash } from 'node:crypto';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { createFiles } from '../../../src/adapters/files/files.ts';
import type { Files } from '../../../src/ports/files.ts';
import { createFakeFiles } from '../../fakes/files.ts';
import { eventually } from '../../support/eventually.ts';
import { tempRoot } from '../../support/temp-root.ts';

interface Harness {
  readonly files: Files;
  readonly root: string;
  close(): Promise<void>;
}

const fake = async (): Promise<Harness> => {
  const files = createFakeFiles();
  await files.ensureDirectory('/root');
  return { files, root: '/root', close: async () => undefined };
};
const real = async (trust: ReadonlySet<number> | null = null): Promise<Harness> => {
  const { path, remove } = await tempRoot();
  return { files: createFiles({ trust }), root: path, close: remove };
};

describe.each([
  ['fake', fake],
  ['disk', () => real()],
  ['disk where others may write', () => real(new Set([0]))],
] as const)('Files, %s', (_name, open) => {
  let harness: Harness;
  let files: Files;
  let root: string;
  beforeEach(async () => {
    harness = await open();
    ({ files, root } = harness);
  });
  afterEach(() => harness.close());

  it('answers with nothing about what is not there', async () => {
    const path = `${root}/none`;
    expect(await files.readText(path)).toBeNull();
    expect(await files.exists(path)).toBe(false);
    expect(await files.isDirectory(path)).toBe(false);
    expect(await files.size(path)).toBeNull();
    expect(await files.modifiedAt(path)).toBeNull();
    expect(await files.list(path)).toEqual([]);
    expect(await files.readLink(path)).toBeNull();
    expect(await files.realPath(path)).toBeNull();
    expect(await files.treeSize(path)).toBe(0);
    await files.remove(path);
  });

  it('takes a path through a file for not there', async () => {
    await files.writeText(`${root}/file`, 'x');
    expect(await files.readText(`${root}/file/below`)).toBeNull();
    expect(await files.exists(`${root}/file/below`)).toBe(false);
    expect(await files.list(`${root}/file`)).toEqual([]);
  });

  it('reads back what it wrote, and leaves nothing else in the directory', async () => {
    const path = `${root}/a.txt`;
    const before = Date.now();
    await files.writeText(path, 'one\n');
    await files.writeText(path, 'zwei, drei: ä\n');
    expect(await files.readText(path)).toBe('zwei, drei: ä\n');
    expect(await files.size(path)).toBe(15);
    expect(await files.modifiedAt(path)).toBeGreaterThan(before - 5_000);
    expect(await files.list(root)).toEqual(['a.txt']);
    expect(await files.digest(path)).toBe(createHash('sha256').update('zwei, drei: ä\n').digest('hex'));
  });

  it('names the path that cannot be written or read', async () => {
    await files.ensureDirectory(`${root}/directory/full`);
    await files.writeText(`${root}/file`, 'x');
    const notWritten = { name: 'AgentError', code: 'ROOT_NOT_WRITABLE' };
    await expect(files.writeText(`${root}/no/a.txt`, 'x')).rejects.toMatchObject(notWritten);
    await expect(files.writeText(`${root}/no/a.txt`, 'x')).rejects.toThrow(`${root}/no/a.txt could not be written: it, or a directory on`);
    await expect(files.writeText(`${root}/directory`, 'x')).rejects.toMatchObject(notWritten);
    await expect(files.ensureDirectory(`${root}/file`)).rejects.toMatchObject(notWritten);
    await expect(files.move(`${root}/none`, `${root}/b`)).rejects.toMatchObject(notWritten);
    await expect(files.move(`${root}/file`, `${root}/no/b`)).rejects.toMatchObject(notWritten);
    await expect(files.copyTree(`${root}/none`, `${root}/b`)).rejects.toMatchObject(notWritten);
    await expect(files.link('x', `${root}/no/link`)).rejects.toMatchObject(notWritten);
    await expect(files.appendLine(`${root}/no/log`, 'x')).rejects.toMatchObject(notWritten);
    await expect(files.readText(`${root}/directory`)).rejects.toMatchObject({ name: 'AgentError', code: 'FILE_UNREADABLE' });
    await expect(files.digest(`${root}/none`)).rejects.toMatchObject({ name: 'AgentError', code: 'FILE_UNREADABLE' });
    expect((await files.list(root)).toSorted()).toEqual(['directory', 'file']);
  });

  it('makes directories with all on the way to them, again and again', async () => {
    await files.ensureDirectory(`${root}/a/b/c`);
    await files.ensureDirectory(`${root}/a/b/c`, 0o700);
    expect(await files.isDirectory(`${root}/a/b/c`)).toBe(true);
    expect(await files.list(`${root}/a`)).toEqual(['b']);
  });

  it('removes a tree, and only the link of a linked one', async () => {
    await files.ensureDirectory(`${root}/data/deep`);
    await files.writeText(`${root}/data/deep/model`, 'weights');
    await files.ensureDirectory(`${root}/release`);
    await files.link(`${root}/data`, `${root}/release/models`);
    await files.remove(`${root}/release`);
    expect(await files.exists(`${root}/release`)).toBe(false);
    expect(await files.readText(`${root}/data/deep/model`)).toBe('weights');
  });

  it('moves a tree onto nothing or an empty directory, never onto a full one', async () => {
    await files.ensureDirectory(`${root}/from/deep`);
    await files.writeText(`${root}/from/deep/a`, '1');
    await files.ensureDirectory(`${root}/full`);
    await files.writeText(`${root}/full/b`, '2');
    await expect(files.move(`${root}/from`, `${root}/full`)).rejects.toMatchObject({ code: 'ROOT_NOT_WRITABLE' });
    expect(await files.readText(`${root}/full/b`)).toBe('2');
    await files.ensureDirectory(`${root}/empty`);
    await files.move(`${root}/from`, `${root}/empty`);
    expect(await files.exists(`${root}/from`)).toBe(false);
    expect(await files.readText(`${root}/empty/deep/a`)).toBe('1');
  });

  it('copies a tree, links as links; what is there is replaced or kept as asked', async () => {
    await files.ensureDirectory(`${root}/from/deep`);
    await files.writeText(`${root}/from/a`, 'new');
    await files.writeText(`${root}/from/deep/b`, 'b');
    await files.link('a', `${root}/from/link`);
    await files.link('/nowhere/at-all', `${root}/from/dangling`);
    await files.ensureDirectory(`${root}/to`);
    await files.writeText(`${root}/to/a`, 'old');
    await files.writeText(`${root}/to/mine`, 'mine');
    await files.copyTree(`${root}/from`, `${root}/to`, { overwrite: false });
    expect(await files.readText(`${root}/to/a`)).toBe('old');
    expect(await files.readText(`${root}/to/deep/b`)).toBe('b');
    expect(await files.readLink(`${root}/to/link`)).toBe('a');
    expect(await files.readLink(`${root}/to/dangling`)).toBe('/nowhere/at-all');
    await files.copyTree(`${root}/from`, `${root}/to`);
    expect(await files.readText(`${root}/to/a`)).toBe('new');
    expect(await files.readText(`${root}/to/mine`)).toBe('mine');
    expect(await files.readText(`${root}/from/a`)).toBe('new');
  });

  it('replaces links, never what is no link', async () => {
    const current = `${root}/current`;
    await files.ensureDirectory(`${root}/releases/1`);
    await files.ensureDirectory(`${root}/releases/2`);
    await files.ensureDirectory(`${root}/data`);
    expect(await files.link('releases/1', current)).toBe(true);
    expect(await files.realPath(current)).toBe(`${root}/releases/1`);
    expect(await files.link('releases/2', current)).toBe(true);
    expect(await files.link('releases/2', current)).toBe(true);
    expect(await files.readLink(current)).toBe('releases/2');
    expect(await files.isDirectory(current)).toBe(true);
    expect(await files.link('releases/1', `${root}/data`)).toBe(false);
    expect(await files.isDirectory(`${root}/data`)).toBe(true);
    expect(await files.readLink(`${root}/data`)).toBeNull();
    expect((await files.list(root)).toSorted()).toEqual(['current', 'data', 'releases']);
  });

  it('sees through links: a dangling one is there as a link only', async () => {
    await files.link(`${root}/none`, `${root}/link`);
    expect(await files.exists(`${root}/link`)).toBe(false);
    expect(await files.readLink(`${root}/link`)).toBe(`${root}/none`);
    expect(await files.link(`${root}/other`, `${root}/link`)).toBe(true);
  });

  it('writing to a link replaces the link, not what it leads to', async () => {
    await files.writeText(`${root}/theirs`, 'theirs');
    await files.link('theirs', `${root}/ours`);
    await files.writeText(`${root}/ours`, 'ours');
    expect(await files.readText(`${root}/theirs`)).toBe('theirs');
    expect(await files.readText(`${root}/ours`)).toBe('ours');
  });

  it('stamps a tree: the same while nothing happens, another after every change', async () => {
    const tree = `${root}/tree`;
    await files.ensureDirectory(`${tree}/deep`);
    await files.writeText(`${tree}/deep/file`, 'one');
    await files.writeText(`${root}/beside`, 'x');
    const stamps = [await files.treeStamp(tree)];
    expect(await files.treeStamp(tree)).toBe(stamps[0]);
    await files.writeText(`${root}/beside`, 'y');
    expect(await files.treeStamp(tree)).toBe(stamps[0]);
    const changes = [
      () => files.writeText(`${tree}/deep/file`, 'two'),
      () => files.writeText(`${tree}/deep/more`, ''),
      () => files.link('file', `${tree}/deep/link`),
      () => files.move(`${tree}/deep/more`, `${tree}/deep/renamed`),
      () => files.remove(`${tree}/deep/renamed`),
      () => files.remove(tree),
    ];
    for (const change of changes) {
      await change();
      stamps.push(await files.treeStamp(tree));
    }
    expect(new Set(stamps).size).toBe(stamps.length);
  });

  it('adds up a tree without what links lead to', async () => {
    await files.ensureDirectory(`${root}/tree/deep`);
    const empty = await files.treeSize(`${root}/tree`);
    await files.writeText(`${root}/big`, 'x'.repeat(200_000));
    await files.link(`${root}/big`, `${root}/tree/link`);
    expect((await files.treeSize(`${root}/tree`)) - empty).toBeLessThan(20_000);
    await files.writeText(`${root}/tree/deep/file`, 'x'.repeat(100_000));
    const size = (await files.treeSize(`${root}/tree`)) - empty;
    expect(size).toBeGreaterThanOrEqual(100_000);
    expect(size).toBeLessThan(140_000);
    expect(await files.freeBytes(root)).toBeGreaterThan(0);
  });

  it('gives a lock to one, and says who has it', async () => {
    const path = `${root}/.agent.lock`;
    const lock = await files.lock(path, 'agent run (pid 4711)');
    const refused = files.lock(path, 'a second one');
    await expect(refused).rejects.toMatchObject({ name: 'AgentError', code: 'ROOT_LOCKED', exitCode: 5 });
    await expect(refused).rejects.toThrow(/agent run \(pid 4711\)/);
    const other = await files.lock(`${root}/.other.lock`, 'another root');
    await other.release();
    await lock.release();
    const again = await files.lock(path, 'a second one');
    await expect(files.lock(path, 'a third one')).rejects.toThrow(/a second one/);
    await again.release();
  });

  it('reads the last lines, at most as many as asked', async () => {
    const path = `${root}/log`;
    const tail = async (lines: number): Promise<string[]> => {
      const read: string[] = [];
      for await (const line of files.tail(path, { lines, follow: false }, new AbortController().signal)) read.push(line);
      return read;
    };
    expect(await tail(3)).toEqual([]);
    for (const line of ['one', '', 'three', 'four']) await files.appendLine(path, line);
    expect(await tail(3)).toEqual(['', 'three', 'four']);
    expect(await tail(99)).toEqual(['one', '', 'three', 'four']);
    expect(await tail(0)).toEqual([]);
  });

  it('reads parts of a file, and tells where to go on', async () => {
    const path = `${root}/part.log`;
    expect(await files.readPart(path, 0, 10)).toBeNull();
    await files.writeText(path, 'äbc\nsecond\n');
    expect(await files.readPart(path, 0, 5)).toEqual({ text: 'äbc\n', next: 5, size: 12 });
    expect(await files.readPart(path, 5, 100)).toEqual({ text: 'second\n', next: 12, size: 12 });
    expect(await files.readPart(path, -7, 100)).toEqual({ text: 'second\n', next: 12, size: 12 });
    expect(await files.readPart(path, -999, 2)).toMatchObject({ text: 'ä', next: 2 });
    expect(await files.readPart(path, 99, 10)).toEqual({ text: '', next: 99, size: 12 });
  });

  it('follows a log that is not there yet, is truncated and is rotated', async () => {
    const path = `${root}/log`;
    const stop = new AbortController();
    const seen: string[] = [];
    const reader = (async () => {
      for await (const line of files.tail(path, { lines: 10, follow: true }, stop.signal)) seen.push(line);
    })();
    const until = (...lines: string[]) => eventually(`${lines.join()} of ${seen.join()}`, () => seen.join() === lines.join());
    try {
      await files.appendLine(path, 'first');
      await until('first');
      await files.appendLine(path, 'second');
      await until('first', 'second');
      await files.move(path, `${path}.1`);
      await files.writeText(path, 'rotated, and longer than what was there before it\n');
      await until('first', 'second', 'rotated, and longer than what was there before it');
      seen.length = 0;
      await files.writeText(path, 'short\n');
      await until('short');
    } finally {
      stop.abort();
    }
    await reader;
  });

  it('tells of each change of a watched file, under the name it was given', async () => {
    const named = `${root}/agent.yaml`;
    const later = `${root}/not/there/yet.json`;
    await files.writeText(named, 'a: 1\n');
    const told: string[] = [];
    const watch = await files.watch([named, later], (path) => told.push(path));
    const until = (path: string) => eventually(`told of ${path}`, () => told.splice(0).includes(path));
    try {
      await files.writeText(named, 'a: 2\n');
      await until(named);
      await files.ensureDirectory(`${root}/not/there`);
      await files.writeText(later, '{}');
      await until(later);
      await files.writeText(later, '[]');
      await until(later);
      await files.remove(named);
      await until(named);
      await files.writeText(named, 'a: 3\n');
      await until(named);
      await files.writeText(`${root}/unrelated`, 'x');
    } finally {
      await watch.close();
    }
    told.length = 0;
    await files.writeText(named, 'a: 4\n');
    expect(told).toEqual([]);
  });
});
