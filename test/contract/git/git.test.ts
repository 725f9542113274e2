import { mkdir, readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { GitSource } from '../../../src/ports/git.ts';
import { fakeGitHarness, type GitHarness, realGitHarness } from '../../support/git/harness.ts';

const lfsPointer =
  'version https://git-lfs.github.com/spec/v1\noid sha256:4d7a214614ab2935c943f9e0ff69d22eadbb8f32b1258daaa5e2ca24d17e2393\nsize 12345\n';
const source = (url: string, change: Partial<GitSource> = {}): GitSource => ({ url, branch: null, commit: null, ...change });

/** The same assertions on the fake that engine tests use and on real git. */
describe.each([
  ['fake', fakeGitHarness],
  ['real', realGitHarness],
] as const)('git (%s)', (_name, start) => {
  let harness: GitHarness;
  let place: string;
  const text = (path: string): Promise<string> => readFile(join(place, path), 'utf8');

  beforeEach(async () => {
    harness = await start();
    place = join(harness.root, 'trees', 'tree');
  });
  afterEach(() => harness.close());

  it('resolves the default branch, a branch, a tag and a commit', async () => {
    const { git } = harness;
    const origin = await harness.origin('one');
    const first = await origin.commit({ 'main.py': '1' });
    await origin.annotatedTag('v1', first);
    const second = await origin.commit({ 'main.py': '2' });
    const side = await origin.commit({ 'main.py': '3' }, 'feature/side');
    await origin.commit({ 'main.py': '4' });
    const last = await origin.commit({ 'main.py': '5' });

    expect(await git.resolve(source(origin.url))).toEqual({ commit: last, branch: 'main' });
    expect(await git.resolve(source(origin.url, { branch: 'feature/side' }))).toEqual({ commit: side, branch: 'feature/side' });
    expect(await git.resolve(source(origin.url, { branch: 'v1' }))).toEqual({ commit: first, branch: 'v1' });
    expect(await git.resolve(source(origin.url, { commit: second }))).toEqual({ commit: second, branch: null });
    expect(await git.resolve(source(origin.url, { commit: second.slice(0, 10) }))).toEqual({ commit: second, branch: null });
    expect(await git.resolve(source(origin.url, { commit: second, branch: 'main' }))).toEqual({ commit: second, branch: 'main' });
  });

  it('names the nearest branches for one that does not exist', async () => {
    const origin = await harness.origin('one');
    await origin.commit({ a: '1' });
    await origin.commit({ a: '2' }, 'forward');
    const failure = harness.git.resolve(source(origin.url, { branch: 'foward' }));
    await expect(failure).rejects.toMatchObject({ code: 'BRANCH_NOT_FOUND', details: { branch: 'foward' } });
    await expect(failure).rejects.toThrow(/"forward"/);
  });

  it('refuses a commit that is not there, and what is no commit id', async () => {
    const origin = await harness.origin('one');
    await origin.commit({ a: '1' });
    await expect(harness.git.resolve(source(origin.url, { commit: 'f'.repeat(40) }))).rejects.toMatchObject({ code: 'COMMIT_NOT_FOUND' });
    await expect(harness.git.resolve(source(origin.url, { commit: 'v1.0' }))).rejects.toMatchObject({ code: 'COMMIT_NOT_FOUND' });
    await expect(harness.git.checkout(source(origin.url, { commit: 'f'.repeat(40) }), place, { recursive: false })).rejects.toMatchObject({
      code: 'COMMIT_NOT_FOUND',
    });
    await expect(readdir(join(harness.root, 'trees')).catch(() => [])).resolves.toEqual([]);
  });

  it('tells a repository that does not exist', async () => {
    const url = `file://${harness.root}/nowhere`;
    await expect(harness.git.resolve(source(url))).rejects.toMatchObject({ code: 'REPOSITORY_NOT_FOUND', retryable: false });
  });

  it('tells what lay in its cache', async () => {
    const origin = await harness.origin('one');
    const commit = await origin.commit({ a: '1' });
    const seen: boolean[] = [];
    const options = { recursive: false, onCache: (isCached: boolean) => seen.push(isCached) };
    await harness.git.checkout(source(origin.url), place, options);
    await harness.git.checkout(source(origin.url), `${place}-2`, options);
    await harness.git.checkout(source(origin.url, { commit }), `${place}-3`, options);
    await origin.commit({ a: '2' });
    await harness.git.checkout(source(origin.url), `${place}-4`, options);
    expect(seen).toEqual([false, true, true, false]);
  });

  it('writes a work tree, detached at the commit, and sees changes to it', async () => {
    const origin = await harness.origin('one');
    const commit = await origin.commit({ 'main.py': 'print(1)\n', 'comfy/sd.py': 'x\n' });
    const seen: string[] = [];
    const result = await harness.git.checkout(source(origin.url), place, { recursive: false, onProgress: ({ stage }) => seen.push(stage) });
    expect(result).toEqual({
      commit,
      branch: 'main',
      commitDate: expect.stringMatching(/^2026-11-20T10:00:00/),
      submodules: [],
      lfsPointers: [],
      warnings: [],
    });
    expect(await text('comfy/sd.py')).toBe('x\n');
    expect(seen.length).toBeGreaterThan(0);
    expect(await harness.sources.changed(place)).toEqual([]);
    expect(await readdir(join(harness.root, 'trees'))).toEqual(['tree']);

    await writeFile(join(place, 'main.py'), 'print(2)\n');
    expect(await harness.sources.changed(place)).toEqual(['main.py']);
  });

  it('is not fooled by a directory that is no work tree', async () => {
    await mkdir(place, { recursive: true });
    expect(await harness.sources.changed(place)).toBeNull();
    expect(await harness.sources.changed(join(place, 'nothing'))).toBeNull();
    expect(await harness.sources.untracked(place)).toBeNull();
  });

  it('does not write over what is there', async () => {
    const origin = await harness.origin('one');
    await origin.commit({ a: '1' });
    await mkdir(place, { recursive: true });
    await writeFile(join(place, 'mine'), 'keep');
    await expect(harness.git.checkout(source(origin.url), place, { recursive: false })).rejects.toMatchObject({ code: 'COMMAND_FAILED' });
    expect(await readdir(place)).toEqual(['mine']);
  });

  it('fetches submodules of submodules when asked, and only then', async () => {
    const inner = await harness.origin('inner');
    const deep = await inner.commit({ 'deep.txt': 'deep' });
    const middle = await harness.origin('middle');
    await middle.commit({ 'middle.txt': 'middle' });
    const half = await middle.submodule('libs/inner', inner.url);
    const outer = await harness.origin('outer');
    await outer.commit({ 'outer.txt': 'outer' });
    await outer.submodule('libs/middle', middle.url);

    const { submodules, warnings } = await harness.git.checkout(source(outer.url), place, { recursive: true });
    expect(submodules).toEqual([
      { path: 'libs/middle', url: middle.url, commit: half },
      { path: 'libs/middle/libs/inner', url: inner.url, commit: deep },
    ]);
    expect(warnings).toEqual([]);
    expect(await text('libs/middle/middle.txt')).toBe('middle');
    expect(await text('libs/middle/libs/inner/deep.txt')).toBe('deep');
    expect(await harness.sources.changed(place)).toEqual([]);
    expect(await harness.sources.untracked(place)).toEqual([]);
    await writeFile(join(place, 'libs/middle/middle.txt'), 'mine');
    expect(await harness.sources.changed(place)).toEqual(['libs/middle/middle.txt']);

    expect(await harness.git.checkout(source(outer.url), `${place}-flat`, { recursive: false })).toMatchObject({ submodules: [] });
    await expect(readFile(join(`${place}-flat`, 'libs/middle/middle.txt'))).rejects.toThrow();
    expect(await harness.sources.untracked(`${place}-flat`)).toEqual([]);
  });

  it('lists Git LFS pointers, and nothing else, as not fetched', async () => {
    const origin = await harness.origin('one');
    await origin.commit({
      '.gitattributes': '*.bin filter=lfs diff=lfs merge=lfs -text\n',
      'weights.bin': lfsPointer,
      'small.bin': 'really here',
    });
    const { lfsPointers } = await harness.git.checkout(source(origin.url), place, { recursive: false });
    expect(lfsPointers).toEqual(['weights.bin']);
  });

  it('lists what git does not track, directories collapsed, without __pycache__', async () => {
    const origin = await harness.origin('one');
    await origin.commit({ '.gitignore': '*.db\n', 'nodes/a.py': 'a' });
    await harness.git.checkout(source(origin.url), place, { recursive: false });
    expect(await harness.sources.untracked(place)).toEqual([]);
    await mkdir(join(place, 'downloads', 'deep'), { recursive: true });
    await mkdir(join(place, 'nodes', '__pycache__'));
    await writeFile(join(place, 'downloads', 'deep', 'x'), '');
    await writeFile(join(place, 'nodes', '__pycache__', 'a.pyc'), '');
    await writeFile(join(place, 'nodes', 'state.db'), '');
    expect([...((await harness.sources.untracked(place)) ?? [])].sort()).toEqual(['downloads/', 'nodes/state.db']);
  });

  describe('in place', () => {
    beforeEach(async () => {
      await mkdir(join(place, 'models'), { recursive: true });
      await writeFile(join(place, 'models', 'big.safetensors'), 'weights');
    });

    it('comes into a folder that holds other files, then follows the branch', async () => {
      const origin = await harness.origin('shared');
      const first = await origin.commit({ 'config_nodes.json': '{}', 'old.json': '{}', 'models/readme.txt': 'put models here' });
      expect(await harness.git.updateInPlace(source(origin.url, { branch: 'main' }), place)).toMatchObject({
        commit: first,
        branch: 'main',
      });
      expect(await text('models/big.safetensors')).toBe('weights');
      expect(await text('models/readme.txt')).toBe('put models here');

      const second = await origin.commit({ 'config_nodes.json': '{"a":1}', 'old.json': null });
      expect(await harness.git.updateInPlace(source(origin.url, { branch: 'main' }), place)).toMatchObject({ commit: second });
      expect(await text('config_nodes.json')).toBe('{"a":1}');
      expect((await readdir(place)).sort()).toEqual(['.git', 'config_nodes.json', 'models']);
      expect(await harness.git.updateInPlace(source(origin.url, { branch: 'main' }), place)).toMatchObject({ commit: second });
    });

    it('keeps a local edit and says which file', async () => {
      const origin = await harness.origin('shared');
      await origin.commit({ 'config_nodes.json': '{}', 'other.json': '1' });
      await harness.git.updateInPlace(source(origin.url), place);
      await writeFile(join(place, 'config_nodes.json'), '{"mine":1}');
      await origin.commit({ 'config_nodes.json': '{"theirs":1}', 'other.json': '2' });
      const failure = harness.git.updateInPlace(source(origin.url), place);
      await expect(failure).rejects.toMatchObject({ code: 'SHARED_REPOSITORY_DIRTY', details: { paths: ['config_nodes.json'] } });
      await expect(failure).rejects.toThrow(/config_nodes\.json/);
      expect(await text('config_nodes.json')).toBe('{"mine":1}');
      expect(await text('other.json')).toBe('1');
    });

    it('refuses to write over a file that it did not bring, but takes one that is the same', async () => {
      const origin = await harness.origin('shared');
      await origin.commit({ 'config_nodes.json': '{}', 'same.json': 'same' });
      await writeFile(join(place, 'same.json'), 'same');
      await writeFile(join(place, 'config_nodes.json'), 'mine');
      await expect(harness.git.updateInPlace(source(origin.url), place)).rejects.toMatchObject({
        code: 'SHARED_REPOSITORY_DIRTY',
        details: { paths: ['config_nodes.json'], count: 1 },
      });
      expect((await readdir(place)).sort()).toEqual(['config_nodes.json', 'models', 'same.json']);

      await writeFile(join(place, 'config_nodes.json'), '{}');
      await harness.git.updateInPlace(source(origin.url), place);
      expect(await text('config_nodes.json')).toBe('{}');
    });
  });

  it('does nothing once aborted', async () => {
    const origin = await harness.origin('one');
    await origin.commit({ a: '1' });
    await expect(harness.git.checkout(source(origin.url), place, { recursive: false, signal: AbortSignal.abort() })).rejects.toMatchObject({
      code: 'INTERRUPTED',
    });
    await expect(readdir(place)).rejects.toThrow();
  });
});
