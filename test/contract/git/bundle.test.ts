import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { fakeGitHarness, type GitHarness, realGitHarness } from '../../support/git/harness.ts';

describe.each([
  ['fake', fakeGitHarness],
  ['real', realGitHarness],
] as const)('git bundles (%s)', (_name, start) => {
  let harness: GitHarness;
  let file: string;
  beforeEach(async () => {
    harness = await start();
    file = join(harness.root, 'one.bundle');
  });
  afterEach(() => harness.close());

  it('carry commits to a machine without a network, where they are checked out as they were', async () => {
    const origin = await harness.origin('one');
    const first = await origin.commit({ 'main.py': '1' });
    const side = await origin.commit({ 'main.py': 'side' }, 'side');
    await origin.commit({ 'main.py': '2' });
    await harness.git.createBundle(origin.url, [first, side], file);
    const elsewhere = await harness.unplugged();
    await elsewhere.importBundle(origin.url, [first, side], file);
    for (const [commit, text] of [
      [first, '1'],
      [side, 'side'],
    ] as const) {
      const place = join(harness.root, 'trees', commit);
      expect(await elsewhere.checkout({ url: origin.url, branch: 'main', commit }, place, { recursive: true })).toMatchObject({ commit });
      expect(await readFile(join(place, 'main.py'), 'utf8')).toBe(text);
    }
  });

  it('carry submodules, each by its own repository', async () => {
    const inner = await harness.origin('inner');
    const innerCommit = await inner.commit({ 'lib.py': 'lib' });
    const outer = await harness.origin('outer');
    await outer.commit({ 'main.py': '1' });
    const outerCommit = await outer.submodule('vendor/inner', inner.url);
    await harness.git.createBundle(outer.url, [outerCommit], file);
    await harness.git.createBundle(inner.url, [innerCommit], `${file}-inner`);
    const elsewhere = await harness.unplugged();
    await elsewhere.importBundle(outer.url, [outerCommit], file);
    // The fake knows no mirrors of submodules beside the outer tree's.
    await elsewhere.importBundle(inner.url, [innerCommit], `${file}-inner`);
    const place = join(harness.root, 'trees', 'outer');
    const found = await elsewhere.checkout({ url: outer.url, branch: null, commit: outerCommit }, place, { recursive: true });
    expect(found.submodules).toMatchObject([{ path: 'vendor/inner', commit: innerCommit }]);
    expect(await readFile(join(place, 'vendor/inner/lib.py'), 'utf8')).toBe('lib');
  });

  it('are imported twice without harm', async () => {
    const origin = await harness.origin('one');
    const commit = await origin.commit({ a: '1' });
    await harness.git.createBundle(origin.url, [commit], file);
    const elsewhere = await harness.unplugged();
    await elsewhere.importBundle(origin.url, [commit], file);
    await elsewhere.importBundle(origin.url, [commit], file);
    expect(await elsewhere.resolve({ url: origin.url, branch: null, commit })).toMatchObject({ commit });
  });

  it('that lack a commit, or are none, are refused', async () => {
    const origin = await harness.origin('one');
    const commit = await origin.commit({ a: '1' });
    const other = await origin.commit({ a: '2' });
    await harness.git.createBundle(origin.url, [commit], file);
    const elsewhere = await harness.unplugged();
    await expect(elsewhere.importBundle(origin.url, [other], file)).rejects.toMatchObject({ code: 'BUNDLE_INVALID' });
    await writeFile(file, 'no bundle');
    await expect(elsewhere.importBundle(origin.url, [commit], file)).rejects.toMatchObject({ code: 'BUNDLE_INVALID' });
  });

  it('of a commit that is nowhere are not made', async () => {
    const origin = await harness.origin('one');
    await origin.commit({ a: '1' });
    await expect(harness.git.createBundle(origin.url, ['f'.repeat(40)], file)).rejects.toMatchObject({ code: 'COMMIT_NOT_FOUND' });
  });
});
