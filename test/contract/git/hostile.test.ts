import { execFileSync } from 'node:child_process';
import { chmod, mkdir, readFile, rename, rm, stat, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { createFiles } from '../../../src/adapters/files/files.ts';
import type { GitAdapter } from '../../../src/adapters/git/git.ts';
import { notedBelow, realGit } from '../../support/git/harness.ts';
import { createOrigin } from '../../support/git/origin.ts';
import { type TempRoot, tempRoot } from '../../support/temp-root.ts';

/** What a pack may have put into its folder, or in place of it, never runs as the agent, and hides nothing from it. */

let root: TempRoot;
let git: GitAdapter;
let place: string;
/** Who ran what was planted. */
const ranAs = async (): Promise<readonly string[]> =>
  [...new Set((await readFile(root.at('ran'), 'utf8')).split('\n').filter((line) => line !== ''))].sort();

const divided = async (): Promise<GitAdapter> =>
  realGit(root.path, {
    divided: {
      closed: root.at('closed'),
      files: createFiles({ trust: new Set([0]) }),
    },
  });

/** A repository that names a program wherever git knows a place for one. */
async function plant(directory: string): Promise<void> {
  const spy = root.at('spy');
  await writeFile(spy, `#!/bin/sh\nid -un >>${root.at('ran')}\ncat 2>/dev/null\n`, { mode: 0o755 });
  const run = (...args: string[]): Buffer => execFileSync('git', ['-C', directory, ...args], { stdio: 'pipe' });
  run('init', '--quiet', '--initial-branch=main');
  await writeFile(join(directory, '.gitattributes'), '*.txt filter=x diff=x merge=x\n');
  await writeFile(join(directory, 'a.txt'), 'one\n');
  run('add', '.');
  run('-c', 'user.name=x', '-c', 'user.email=x@example.org', 'commit', '--quiet', '-m', 'x');
  for (const [key, value] of [
    ['filter.x.clean', spy],
    ['filter.x.smudge', spy],
    ['diff.x.textconv', spy],
    ['diff.external', spy],
    ['core.fsmonitor', spy],
    ['core.alternateRefsCommand', spy],
    ['core.sshCommand', spy],
    ['core.hooksPath', directory],
    ['remote.origin.url', `ext::${spy}`],
    ['safe.directory', '*'],
  ] as const)
    run('config', key, value);
  await symlink(spy, join(directory, 'post-index-change'));
  await writeFile(join(directory, 'a.txt'), 'two\n');
  execFileSync('chmod', ['-R', 'a+rwX', directory]);
}

/** A pack as the agent brought it. */
async function broughtTree(): Promise<{ readonly directory: string }> {
  const origin = await createOrigin(root.at('origin'));
  await origin.commit({ 'a.txt': 'a', 'sub/b.txt': 'b' });
  const directory = root.at('packs/one');
  await git.checkout({ url: origin.url, branch: null, commit: null }, directory, { recursive: false });
  return { directory };
}

beforeEach(async () => {
  root = await tempRoot();
  await chmod(root.path, 0o755);
  await writeFile(root.at('ran'), '');
  await chmod(root.at('ran'), 0o666);
  await mkdir(root.at('closed'), { mode: 0o700 });
  place = root.at('place');
  await mkdir(place);
});
afterEach(async () => {
  await git.close();
  await root.remove();
});

describe('git in a tree of somebody else', () => {
  it('runs what the tree names: so nobody asks it', async () => {
    git = realGit(root.path);
    await plant(place);
    execFileSync('git', ['-C', place, 'status'], { stdio: 'pipe' });
    expect(await ranAs()).toHaveLength(1);
  });

  it.each([
    ['in its place', async (directory: string) => plant(directory)],
    [
      'by way of a file that names another repository',
      async (directory: string) => {
        await mkdir(root.at('elsewhere'));
        await plant(root.at('elsewhere'));
        await writeFile(join(directory, '.git'), `gitdir: ${root.at('elsewhere/.git')}\n`);
      },
    ],
    [
      'by way of a link to another repository',
      async (directory: string) => {
        await mkdir(root.at('elsewhere'));
        await plant(root.at('elsewhere'));
        await symlink(root.at('elsewhere/.git'), join(directory, '.git'));
      },
    ],
  ])('is not asked what changed there, with one user neither: %s', async (_, prepare) => {
    git = realGit(root.path);
    const { directory } = await broughtTree();
    await rm(join(directory, '.git'), { recursive: true });
    await prepare(directory);
    await writeFile(join(directory, 'a.txt'), 'three\n');
    expect(await notedBelow(root.path).changed(directory)).toEqual(['a.txt']);
    await notedBelow(root.path).untracked(directory);
    expect(await ranAs()).toEqual([]);
  });

  it.each<[string, (directory: string, run: (...args: string[]) => void) => unknown]>([
    ['an index that is told to look away', (_, run) => run('update-index', '--assume-unchanged', 'a.txt')],
    ['a sparse index', (_, run) => run('update-index', '--skip-worktree', 'a.txt')],
    ['a commit of its own', (_, run) => run('-c', 'user.name=x', '-c', 'user.email=x@example.org', 'commit', '-qam', 'mine')],
    ['an attribute', (directory) => writeFile(join(directory, '.git/info/attributes'), 'a.txt filter=hides\n')],
    ['a repository of its own', (directory) => rm(join(directory, '.git'), { recursive: true })],
  ])('hides no change from the agent: %s', async (_, hide) => {
    git = await divided();
    const { directory } = await broughtTree();
    await writeFile(join(directory, 'a.txt'), 'mine');
    await writeFile(join(directory, 'new.txt'), 'x');
    await mkdir(join(directory, '.git/info'), { recursive: true });
    await writeFile(join(directory, '.git/info/exclude'), 'new.txt\n');
    await hide(directory, (...args) => void execFileSync('git', ['-C', directory, ...args], { stdio: 'pipe' }));
    expect(await notedBelow(root.path).changed(directory)).toEqual(['a.txt']);
    expect(await notedBelow(root.path).untracked(directory)).toEqual(['new.txt']);
  });

  it('whose folders became links is not looked at elsewhere', async () => {
    git = realGit(root.path);
    const { directory } = await broughtTree();
    await rename(join(directory, 'sub'), root.at('moved'));
    await symlink(root.at('moved'), join(directory, 'sub'));
    expect(await notedBelow(root.path).changed(directory)).toEqual(['sub/b.txt']);
  });
});

describe.skipIf(process.getuid?.() !== 0)('with two users', () => {
  it('a shared folder: its repository is where packs do not come, and one in the folder decides nothing', async () => {
    git = await divided();
    const origin = await createOrigin(root.at('origin'));
    const source = { url: origin.url, branch: 'main', commit: null };
    await origin.commit({ 'list.txt': 'one' });
    await git.updateInPlace(source, root.at('shared'));
    expect(await stat(root.at('shared/.git')).catch(() => null)).toBeNull();
    await mkdir(root.at('hostile'));
    await plant(root.at('hostile'));
    await rename(root.at('hostile/.git'), root.at('shared/.git'));
    await writeFile(root.at('shared/.gitattributes'), '*.txt filter=x\n');
    await origin.commit({ 'list.txt': 'two' });
    await git.updateInPlace(source, root.at('shared'));
    expect(await readFile(root.at('shared/list.txt'), 'utf8')).toBe('two');
    expect(await ranAs()).toEqual([]);
  });

  it('a shared folder of an agent of before goes on from the commit that it stood at', async () => {
    git = realGit(root.path);
    const origin = await createOrigin(root.at('origin'));
    const source = { url: origin.url, branch: 'main', commit: null };
    await origin.commit({ 'list.txt': 'one' });
    await git.updateInPlace(source, root.at('shared'));
    await git.close();
    git = await divided();
    await origin.commit({ 'list.txt': 'two' });
    await git.updateInPlace(source, root.at('shared'));
    expect(await readFile(root.at('shared/list.txt'), 'utf8')).toBe('two');
    await writeFile(root.at('shared/list.txt'), 'mine');
    await origin.commit({ 'list.txt': 'three' });
    await expect(git.updateInPlace(source, root.at('shared'))).rejects.toMatchObject({ code: 'SHARED_REPOSITORY_DIRTY' });
  });
});
