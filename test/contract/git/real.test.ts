import { execFileSync } from 'node:child_process';
import { chmod, cp, mkdir, readdir, readFile, rename, rm, stat, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { GitSource } from '../../../src/ports/git.ts';
import { type GitHarness, realGit, realGitHarness } from '../../support/git/harness.ts';
import { gitFor } from '../../support/git/origin.ts';

const source = (url: string, change: Partial<GitSource> = {}): GitSource => ({ url, branch: null, commit: null, ...change });

/** What only real git can show: objects, mirrors, histories, hostile surroundings. */
describe('git on local repositories', () => {
  let harness: GitHarness;
  let place: string;
  beforeEach(async () => {
    harness = await realGitHarness();
    place = join(harness.root, 'trees', 'tree');
  });
  afterEach(() => harness.close());

  it('takes a plain path as a URL, and stores the URL as origin', async () => {
    const origin = await harness.origin('one');
    const commit = await origin.commit({ a: '1' });
    const path = origin.url.replace('file://', '');
    expect(await harness.git.checkout(source(path), place, { recursive: false })).toMatchObject({ commit });
    expect(await gitFor(place, ['remote', 'get-url', 'origin'])).toBe(path);
    expect(await gitFor(place, ['rev-parse', '--abbrev-ref', 'HEAD'])).toBe('HEAD');
    expect(await gitFor(place, ['branch', '--list'])).not.toMatch(/main/);
  });

  it('stays whole when the cache is deleted, though objects were shared', async () => {
    const origin = await harness.origin('one');
    await origin.commit({ 'a.txt': 'a'.repeat(5_000) });
    await harness.git.checkout(source(origin.url), place, { recursive: false });
    const [mirror = ''] = await readdir(join(harness.root, 'cache', 'git'));
    const packs = join(harness.root, 'cache', 'git', mirror, 'objects', 'pack');
    const pack = (await readdir(packs)).find((name) => name.endsWith('.pack')) ?? '';
    expect((await stat(join(place, '.git', 'objects', 'pack', pack))).ino).toBe((await stat(join(packs, pack))).ino);
    await rm(join(harness.root, 'cache'), { recursive: true });
    await gitFor(place, ['fsck', '--full', '--strict']);
    await gitFor(place, ['checkout', '--quiet', 'HEAD~0', '--', '.']);
    expect(await harness.sources.changed(place)).toEqual([]);
    await harness.git.checkout(source(origin.url), `${place}-2`, { recursive: false });
  });

  it('needs no network for a whole commit that was mirrored', async () => {
    const origin = await harness.origin('one');
    const commit = await origin.commit({ a: '1' });
    await harness.git.checkout(source(origin.url), place, { recursive: false });
    const path = origin.url.replace('file://', '');
    await rename(path, `${path}-gone`);
    expect(await harness.git.resolve(source(origin.url, { commit }))).toEqual({ commit, branch: null });
    expect(await harness.git.checkout(source(origin.url, { commit }), `${place}-2`, { recursive: false })).toMatchObject({ commit });
    await expect(harness.git.resolve(source(origin.url))).rejects.toMatchObject({ code: 'REPOSITORY_NOT_FOUND' });
  });

  it('makes a damaged mirror anew', async () => {
    const origin = await harness.origin('one');
    const commit = await origin.commit({ a: '1' });
    await harness.git.checkout(source(origin.url), place, { recursive: false });
    const [mirror = ''] = await readdir(join(harness.root, 'cache', 'git'));
    await rm(join(harness.root, 'cache', 'git', mirror, 'HEAD'));
    expect(await harness.git.checkout(source(origin.url), `${place}-2`, { recursive: false })).toMatchObject({ commit });

    const next = await origin.commit({ a: '2' });
    await writeFile(join(harness.root, 'cache', 'git', mirror, 'refs', 'heads', 'main.lock'), '');
    expect(await harness.git.checkout(source(origin.url), `${place}-3`, { recursive: false })).toMatchObject({ commit: next });
  });

  it('takes away what a git left locked that was killed with its agent', async () => {
    const origin = await harness.origin('one');
    const commit = await origin.commit({ a: '1' });
    await harness.git.checkout(source(origin.url), place, { recursive: false });
    const cache = join(harness.root, 'cache', 'git');
    const [name = ''] = await readdir(cache);
    await mkdir(join(cache, name, 'refs/agent'), { recursive: true });
    for (const lock of [`refs/agent/${commit}.lock`, 'packed-refs.lock']) await writeFile(join(cache, name, lock), '');
    const packs = await readdir(join(cache, name, 'objects/pack'));
    const next = realGit(harness.root);
    expect(await next.checkout(source(origin.url, { commit }), `${place}-2`, { recursive: false })).toMatchObject({ commit });
    await next.close();
    expect((await readdir(join(cache, name), { recursive: true })).filter((file) => file.endsWith('.lock'))).toEqual([]);
    // The mirror was not made anew for it.
    expect(await readdir(join(cache, name, 'objects/pack'))).toEqual(packs);
  });

  it('leaves the named URL as origin of the work tree, whatever is in it', async () => {
    const plain = await harness.origin('one');
    await plain.commit({ a: '1' });
    const awkward = join(harness.root, 'a "quoted"; #name \\');
    await rename(plain.url.replace('file://', ''), awkward);
    await harness.git.checkout(source(awkward), place, { recursive: false });
    expect((await gitFor(place, ['config', '--get-all', 'remote.origin.url'])).trim()).toBe(awkward);
  });

  it('makes a mirror anew that has the commit and not its tree', async () => {
    const origin = await harness.origin('one');
    const commit = await origin.commit({ a: '1' });
    await harness.git.checkout(source(origin.url), place, { recursive: false });
    const [mirror = ''] = await readdir(join(harness.root, 'cache', 'git'));
    const objects = join(harness.root, 'cache', 'git', mirror);
    const tree = (await gitFor(objects, ['rev-parse', `${commit}^{tree}`])).trim();
    // Loose, so that one of them can be taken away.
    const [pack] = (await readdir(join(objects, 'objects/pack'))).filter((name) => name.endsWith('.pack'));
    if (pack !== undefined) {
      await rename(join(objects, 'objects/pack', pack), join(objects, 'taken.pack'));
      await rm(join(objects, 'objects/pack'), { recursive: true });
      await mkdir(join(objects, 'objects/pack'));
      execFileSync('git', ['unpack-objects', '-q'], { cwd: objects, input: await readFile(join(objects, 'taken.pack')) });
    }
    await rm(join(objects, 'objects', tree.slice(0, 2), tree.slice(2)));
    expect(await harness.git.checkout(source(origin.url, { commit }), `${place}-2`, { recursive: false })).toMatchObject({ commit });
  });

  it('finds a commit that no branch holds', async () => {
    const origin = await harness.origin('one');
    await origin.commit({ a: '1' });
    const lost = await origin.commit({ a: '2' });
    const directory = origin.url.replace('file://', '');
    await gitFor(directory, ['reset', '--quiet', '--hard', 'HEAD~1']);
    expect(await harness.git.checkout(source(origin.url, { commit: lost }), place, { recursive: false })).toMatchObject({
      commit: lost,
      branch: null,
    });
    expect(await readFile(join(place, 'a'), 'utf8')).toBe('2');
  });

  it('peels an annotated tag to its commit', async () => {
    const origin = await harness.origin('one');
    const commit = await origin.commit({ a: '1' });
    await origin.annotatedTag('v1.0', commit);
    await origin.commit({ a: '2' });
    expect(await harness.git.checkout(source(origin.url, { branch: 'v1.0' }), place, { recursive: false })).toMatchObject({
      commit,
      branch: 'v1.0',
    });
  });

  it('takes a branch whose name looks like a commit, or holds a slash, for what it is', async () => {
    const origin = await harness.origin('one');
    const main = await origin.commit({ a: '1' });
    const side = await origin.commit({ a: '2' }, 'deadbeef');
    expect(await harness.git.resolve(source(origin.url, { branch: 'deadbeef' }))).toEqual({ commit: side, branch: 'deadbeef' });
    await expect(harness.git.resolve(source(origin.url, { commit: 'deadbeef' }))).rejects.toMatchObject({ code: 'COMMIT_NOT_FOUND' });
    expect(await harness.git.resolve(source(origin.url, { commit: main.slice(0, 8) }))).toMatchObject({ commit: main });
  });

  it('tells an empty repository from a missing branch', async () => {
    const directory = join(harness.root, 'empty');
    await mkdir(directory);
    await gitFor(directory, ['init', '--quiet']);
    await expect(harness.git.resolve(source(directory))).rejects.toThrow(/no default branch/);
  });

  it('serves two checkouts of one URL at the same time', async () => {
    const origin = await harness.origin('one');
    const commits = [await origin.commit({ a: '1' }), await origin.commit({ a: '2' }, 'b'), await origin.commit({ a: '3' }, 'c')];
    const results = await Promise.all(
      ['main', 'b', 'c'].map((branch) => harness.git.checkout(source(origin.url, { branch }), `${place}-${branch}`, { recursive: false })),
    );
    expect(results.map(({ commit }) => commit)).toEqual(commits);
    expect(await readdir(join(harness.root, 'cache', 'git'))).toHaveLength(1);
  });

  it('clears what a killed agent left beside the place', async () => {
    const origin = await harness.origin('one');
    await origin.commit({ a: '1' });
    await mkdir(join(harness.root, 'trees', '.tree.partial', '.git'), { recursive: true });
    await harness.git.checkout(source(origin.url), place, { recursive: false });
    expect(await readdir(join(harness.root, 'trees'))).toEqual(['tree']);
  });

  it('is untouched by the configuration, hooks and variables of the machine', async () => {
    const home = join(harness.root, 'home');
    const touched = join(harness.root, 'touched');
    await mkdir(join(home, 'hooks'), { recursive: true });
    await writeFile(join(home, 'hooks', 'post-checkout'), `#!/bin/sh\ntouch ${touched}\n`, { mode: 0o755 });
    await writeFile(
      join(home, '.gitconfig'),
      `[core]\n\thooksPath = ${home}/hooks\n\tautocrlf = true\n[url "file:///nowhere/"]\n\tinsteadOf = file:///\n[filter "evil"]\n\tsmudge = touch ${touched}; cat\n`,
    );
    const origin = await harness.origin('one');
    const commit = await origin.commit({ '.gitattributes': '*.txt filter=evil\n', 'a.txt': 'a\n' });
    const environment = {
      PATH: process.env['PATH'] ?? '',
      HOME: home,
      GIT_DIR: '/nowhere',
      GIT_CONFIG_GLOBAL: join(home, '.gitconfig'),
      GIT_SSH_COMMAND: `touch ${touched};`,
      GIT_EXTERNAL_DIFF: `touch ${touched}`,
    };
    const git = realGit(harness.root, { environment });
    expect(await git.checkout(source(origin.url), place, { recursive: false })).toMatchObject({ commit });
    expect(await readFile(join(place, 'a.txt'), 'utf8')).toBe('a\n');
    await expect(stat(touched)).rejects.toThrow();
    expect(await readdir(join(place, '.git'))).not.toContain('hooks');
  });

  it('says so when git is missing, and when the folder cannot be written', async () => {
    const git = realGit(harness.root, { gitPath: '/nonexistent/git' });
    await expect(git.version()).rejects.toMatchObject({ code: 'GIT_MISSING' });
    expect(await harness.git.version()).toMatch(/^\d+\.\d+/);
  });

  it('stores nothing half when a submodule is not to be had', async () => {
    const inner = await harness.origin('inner');
    await inner.commit({ a: '1' });
    const outer = await harness.origin('outer');
    await outer.commit({ b: '1' });
    await outer.submodule('libs/inner', inner.url);
    await rm(inner.url.replace('file://', ''), { recursive: true });
    const failure = harness.git.checkout(source(outer.url), place, { recursive: true });
    await expect(failure).rejects.toMatchObject({ code: 'REPOSITORY_NOT_FOUND' });
    await expect(failure).rejects.toThrow(/submodule/);
    expect(await readdir(join(harness.root, 'trees'))).toEqual([]);
  });

  it('brings submodules from mirrors: a second work tree needs nothing but the cache', async () => {
    const inner = await harness.origin('inner');
    const innerCommit = await inner.commit({ a: 'x'.repeat(3_000) });
    const outer = await harness.origin('outer');
    await outer.commit({ b: '1' });
    await outer.submodule('libs/one', inner.url);
    const commit = await outer.submodule('libs/two', inner.url);
    const first = await harness.git.checkout(source(outer.url), place, { recursive: true });
    for (const { url } of [inner, outer]) await rename(url.replace('file://', ''), `${url.replace('file://', '')}-gone`);
    const second = await harness.git.checkout(source(outer.url, { commit }), `${place}-2`, { recursive: true });
    expect(second.submodules).toEqual(first.submodules);
    expect(first.submodules.map((each) => each.commit)).toEqual([innerCommit, innerCommit]);
    // What people type in there works, and sees nothing changed.
    expect(await gitFor(place, ['submodule', 'status', '--recursive'])).toMatch(/^[0-9a-f]{40} libs\/one.*\n [0-9a-f]{40} libs\/two/);
    expect(await gitFor(place, ['status', '--porcelain'])).toBe('');
    await writeFile(join(place, 'libs/two/a'), 'changed');
    expect(await harness.sources.changed(place)).toEqual(['libs/two/a']);
    await rm(join(harness.root, 'cache'), { recursive: true });
    await gitFor(join(place, 'libs/one'), ['fsck', '--full']);
  });

  it('leaves a submodule without a repository empty, and says so', async () => {
    const origin = await harness.origin('one');
    const head = await origin.commit({ a: '1', '.gitmodules': '' });
    const directory = origin.url.replace('file://', '');
    await gitFor(directory, ['update-index', '--add', '--cacheinfo', `160000,${head},vendored`]);
    await gitFor(directory, ['commit', '--quiet', '--message=by mistake']);
    expect(await harness.git.checkout(source(origin.url), place, { recursive: true })).toMatchObject({
      submodules: [],
      warnings: [expect.stringMatching(/^vendored is a submodule without a repository/)],
    });
  });

  it('makes the damaged mirror of a submodule anew, and ends a cycle of submodules', async () => {
    const inner = await harness.origin('inner');
    const commit = await inner.commit({ a: '1' });
    const outer = await harness.origin('outer');
    await outer.commit({ b: '1' });
    await outer.submodule('in', inner.url);
    await harness.git.checkout(source(outer.url), place, { recursive: true });
    const mirror = (await readdir(join(harness.root, 'cache', 'git'))).find((name) => name.includes('inner')) ?? '';
    await rm(join(harness.root, 'cache', 'git', mirror, 'HEAD'));
    const again = await harness.git.checkout(source(outer.url), `${place}-2`, { recursive: true });
    expect(again.submodules).toEqual([{ path: 'in', url: inner.url, commit }]);

    const ring = await harness.origin('ring');
    const directory = ring.url.replace('file://', '');
    let head = await ring.commit({ '.gitmodules': `[submodule "m"]\n\tpath = m\n\turl = ${ring.url}\n` });
    for (let turn = 0; turn < 10; turn++) {
      await gitFor(directory, ['update-index', '--add', '--cacheinfo', `160000,${head},m`]);
      await gitFor(directory, ['commit', '--quiet', '--message=once more']);
      head = await gitFor(directory, ['rev-parse', 'HEAD']);
    }
    await expect(harness.git.checkout(source(ring.url), `${place}-3`, { recursive: true })).rejects.toMatchObject({
      code: 'SOURCE_REFUSED',
      message: expect.stringMatching(/more than 8 deep/),
    });
  });

  it('speaks to the mirror of gitMirror for repository, submodule and branch, and shows the URL that was named', async () => {
    const inner = await harness.origin('inner');
    const innerCommit = await inner.commit({ a: '1' });
    const outer = await harness.origin('outer');
    const directory = outer.url.replace('file://', '');
    await outer.commit({ '.gitmodules': '[submodule "in"]\n\tpath = in\n\turl = ../inner\n' });
    await gitFor(directory, ['update-index', '--add', '--cacheinfo', `160000,${innerCommit},in`]);
    await gitFor(directory, ['commit', '--quiet', '--message=submodule']);
    const base = outer.url.slice(0, -'outer'.length);
    const git = realGit(harness.root, {
      gitMirror: () => ({ 'https://example.invalid/': 'file:///nowhere/', 'https://example.invalid/o/': base }),
    });
    const url = 'https://example.invalid/o/outer';
    const { commit } = await git.resolve(source(url));
    expect(await git.checkout(source(url), place, { recursive: true })).toMatchObject({
      commit,
      branch: 'main',
      submodules: [{ path: 'in', url: 'https://example.invalid/o/inner', commit: innerCommit }],
    });
    expect(await gitFor(place, ['remote', 'get-url', 'origin'])).toBe(url);
    expect(await gitFor(join(place, 'in'), ['remote', 'get-url', 'origin'])).toBe('https://example.invalid/o/inner');
    await git.updateInPlace(source(url), `${place}-shared`);
    await expect(git.resolve(source('https://example.invalid/p/x'))).rejects.toThrow(
      /file:\/\/\/nowhere\/p\/x \(install\.gitMirror for https:\/\/example\.invalid\/p\/x\)/,
    );
  });

  it('a shared folder in which others may write gets files at its top that they may not, as the commit has them', async () => {
    const origin = await harness.origin('shared');
    const first = { 'config_nodes.json': '{}', 'workflows/a.json': '[]', 'run.sh': '', 'models/readme.txt': 'put models here' };
    await origin.commit(first);
    const before = process.umask(0o002);
    const modeOf = async (path: string) => ((await stat(join(place, path))).mode & 0o777).toString(8);
    const update = () => harness.git.updateInPlace(source(origin.url, { branch: 'main' }), place, { closed: true });
    try {
      await mkdir(join(place, 'models'), { recursive: true });
      await mkdir(join(place, 'workflows'));
      await chmod(place, 0o755);
      await chmod(join(place, 'workflows'), 0o755);
      await update();
      expect([await modeOf('config_nodes.json'), await modeOf('workflows/a.json'), await modeOf('models/readme.txt')]).toEqual([
        '644',
        '644',
        '664',
      ]);
      const commit = await origin.commit({ 'config_nodes.json': '{"a":1}' });
      expect(await update()).toMatchObject({ commit });
      expect(await readFile(join(place, 'config_nodes.json'), 'utf8')).toBe('{"a":1}');
      expect(await modeOf('config_nodes.json')).toBe('644');
      expect((await readdir(place)).sort()).toEqual(['.git', 'config_nodes.json', 'models', 'run.sh', 'workflows']);
      expect(await gitFor(place, ['status', '--porcelain', '--untracked-files=no'])).toBe('');
    } finally {
      process.umask(before);
    }
  });

  it('fetches Git LFS files on request, and says when git-lfs is not there', async () => {
    const origin = await harness.origin('one');
    const pointer = `version https://git-lfs.github.com/spec/v1\noid sha256:${'4'.repeat(64)}\nsize 12345\n`;
    await origin.commit({ '.gitattributes': '*.bin filter=lfs diff=lfs merge=lfs -text\n', 'w.bin': pointer });
    const none = realGit(harness.root, {
      environment: { PATH: '/nonexistent' },
      gitPath: execFileSync('which', ['git']).toString().trim(),
    });
    expect(await none.checkout(source(origin.url), place, { recursive: false, lfs: true })).toMatchObject({
      lfsPointers: ['w.bin'],
      warnings: [expect.stringMatching(/git-lfs is not installed/)],
    });
    const bin = join(harness.root, 'bin');
    await mkdir(bin);
    await writeFile(join(bin, 'git-lfs'), '#!/bin/sh\ntest "$1" != pull || { echo real > w.bin; git config lfs.storage > seen; }\n', {
      mode: 0o755,
    });
    const git = realGit(harness.root, { environment: { PATH: `${bin}:${process.env['PATH']}` } });
    expect(await git.checkout(source(origin.url), `${place}-2`, { recursive: false, lfs: true })).toMatchObject({
      lfsPointers: [],
      warnings: [],
    });
    expect((await readFile(join(`${place}-2`, 'seen'), 'utf8')).trim()).toBe(join(harness.root, 'cache', 'git', 'lfs'));
  });

  describe('in place', () => {
    const untouched = async (): Promise<string> =>
      execFileSync('find', ['.', '-path', './.git', '-prune', '-o', '-type', 'f', '-print'], { cwd: place }).toString();

    it('refuses while there are commits that the remote does not have', async () => {
      const origin = await harness.origin('shared');
      await origin.commit({ a: '1' });
      await harness.git.updateInPlace(source(origin.url), place);
      await writeFile(join(place, 'mine'), '1');
      await gitFor(place, ['add', 'mine']);
      await gitFor(place, ['commit', '--quiet', '--message=my own work']);
      const head = await gitFor(place, ['rev-parse', 'HEAD']);
      await origin.commit({ a: '2' });
      const failure = harness.git.updateInPlace(source(origin.url), place);
      await expect(failure).rejects.toMatchObject({ code: 'SHARED_REPOSITORY_DIRTY' });
      await expect(failure).rejects.toThrow(/my own work/);
      expect(await gitFor(place, ['rev-parse', 'HEAD'])).toBe(head);
    });

    it('follows a branch whose history was rewritten, and a pin to an older commit', async () => {
      const origin = await harness.origin('shared');
      const first = await origin.commit({ a: '1' });
      await origin.commit({ a: '2' });
      await harness.git.updateInPlace(source(origin.url, { branch: 'main' }), place);
      await gitFor(origin.url.replace('file://', ''), ['reset', '--quiet', '--hard', first]);
      const rewritten = await origin.commit({ a: '3' });
      expect(await harness.git.updateInPlace(source(origin.url, { branch: 'main' }), place)).toMatchObject({ commit: rewritten });
      expect(await gitFor(place, ['rev-parse', '--abbrev-ref', 'HEAD'])).toBe('main');
      expect(await harness.git.updateInPlace(source(origin.url, { commit: first }), place)).toMatchObject({ commit: first });
      expect(await readFile(join(place, 'a'), 'utf8')).toBe('1');
    });

    it('does not write over an ignored file, through a link, or restore what somebody deleted', async () => {
      const origin = await harness.origin('shared');
      await origin.commit({ '.gitignore': 'local.json\n', a: '1', b: '1' });
      await harness.git.updateInPlace(source(origin.url), place);
      await writeFile(join(place, 'local.json'), 'mine');
      await mkdir(join(harness.root, 'volume'));
      await symlink(join(harness.root, 'volume'), join(place, 'models'));
      await rm(join(place, 'b'));
      await origin.commit({ 'local.json': 'theirs', 'models/readme.txt': 'x', a: '2' });
      const before = await untouched();
      await expect(harness.git.updateInPlace(source(origin.url), place)).rejects.toMatchObject({
        code: 'SHARED_REPOSITORY_DIRTY',
        details: { paths: ['b', 'local.json', 'models'], count: 3 },
      });
      expect(await untouched()).toBe(before);
      expect(await readdir(join(harness.root, 'volume'))).toEqual([]);
      expect(await readFile(join(place, 'local.json'), 'utf8')).toBe('mine');
    });

    it('lists at most ten paths', async () => {
      const origin = await harness.origin('shared');
      const names = Array.from({ length: 12 }, (_, index) => `file${String(index).padStart(2, '0')}`);
      await origin.commit(Object.fromEntries(names.map((name) => [name, 'theirs'])));
      await mkdir(place, { recursive: true });
      for (const name of names) await writeFile(join(place, name), 'mine');
      const failure = harness.git.updateInPlace(source(origin.url), place);
      await expect(failure).rejects.toMatchObject({ details: { paths: names.slice(0, 10), count: 12 } });
      await expect(failure).rejects.toThrow(/and 2 more/);
      expect(await readdir(place)).toEqual(names);
    });

    it('finishes what a killed update began', async () => {
      const origin = await harness.origin('shared');
      await origin.commit({ a: '1', b: '1', c: '1', d: '1' });
      await harness.git.updateInPlace(source(origin.url), place);
      const next = await origin.commit({ a: '2', b: '2', c: null, d: '2', e: '2' });
      // Killed while files were being written: some new, one deleted, one gone and not yet back, the lock still there.
      await writeFile(join(place, 'a'), '2');
      await rm(join(place, 'c'));
      await rm(join(place, 'd'));
      await writeFile(join(place, 'e'), '2');
      await writeFile(join(place, '.git', 'index.lock'), '');
      await expect(harness.git.updateInPlace(source(origin.url), place)).rejects.toMatchObject({ code: 'HELD' });
      await writeFile(join(place, '.git', 'comfylet-update'), next);
      expect(await harness.git.updateInPlace(source(origin.url), place)).toMatchObject({ commit: next });
      expect(await gitFor(place, ['status', '--porcelain', '--untracked-files=no'])).toBe('');
      expect((await readdir(place)).sort()).toEqual(['.git', 'a', 'b', 'd', 'e']);
    });

    it('finishes an update that was killed after the files were written', async () => {
      const origin = await harness.origin('shared');
      await origin.commit({ a: '1', c: '1' });
      await harness.git.updateInPlace(source(origin.url), place);
      const next = await origin.commit({ a: '2', c: null, e: '2' });
      await gitFor(place, ['fetch', '--quiet', origin.url, 'main']);
      await gitFor(place, ['read-tree', '-m', '-u', 'HEAD', next]);
      expect(await harness.git.updateInPlace(source(origin.url), place)).toMatchObject({ commit: next });
      expect(await gitFor(place, ['status', '--porcelain', '--untracked-files=no'])).toBe('');
    });

    it('takes over a clone that somebody made by hand', async () => {
      const origin = await harness.origin('shared');
      await origin.commit({ a: '1' });
      await cp(origin.url.replace('file://', ''), place, { recursive: true });
      await gitFor(place, ['remote', 'add', 'origin', 'ssh://git@example.org/theirs.git']);
      const next = await origin.commit({ a: '2' });
      expect(await harness.git.updateInPlace(source(origin.url), place)).toMatchObject({ commit: next });
      expect(await gitFor(place, ['remote', 'get-url', 'origin'])).toBe('ssh://git@example.org/theirs.git');
    });
  });
});
