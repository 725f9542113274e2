import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { type GitHarness, realGit, realGitHarness } from '../../support/git/harness.ts';
import { gitFor } from '../../support/git/origin.ts';
import { type GitHttpServer, startGitHttp } from '../../support/git/servers.ts';

const installed = ((): boolean => {
  try {
    execFileSync('git', ['lfs', 'version'], { stdio: 'ignore' });
    return true;
  } catch {
    return false;
  }
})();
if (!installed) console.log('skipped: Git LFS: git-lfs is not installed (apt-get install git-lfs)');

const content = 'w'.repeat(10_000);
const oid = createHash('sha256').update(content).digest('hex');
const pointer = (id: string): string => `version https://git-lfs.github.com/spec/v1\noid sha256:${id}\nsize ${content.length}\n`;
const attributes = '*.bin filter=lfs diff=lfs merge=lfs -text\n';

describe.skipIf(!installed)('Git LFS by the real git-lfs', () => {
  let harness: GitHarness;
  let place: string;
  const servers: GitHttpServer[] = [];
  beforeEach(async () => {
    harness = await realGitHarness();
    place = join(harness.root, 'trees', 'tree');
  });
  afterEach(async () => {
    for (const server of servers.splice(0)) await server.close();
    await harness.close();
  });
  const serve = async (credentials?: string): Promise<GitHttpServer> => {
    const server = await startGitHttp({
      directory: join(harness.root, 'origins'),
      lfs: new Map([[oid, content]]),
      ...(credentials === undefined ? {} : { credentials }),
    });
    servers.push(server);
    return server;
  };

  it('fetches over http with credentials, in submodules too, and a second time from the cache', async () => {
    const inner = await harness.origin('inner');
    const innerCommit = await inner.commit({ '.gitattributes': attributes, 'i.bin': pointer(oid) });
    const outer = await harness.origin('outer');
    await outer.commit({
      '.gitattributes': attributes,
      'o.bin': pointer(oid),
      '.gitmodules': '[submodule "in"]\n\tpath = in\n\turl = ../inner\n',
    });
    const directory = join(harness.root, 'origins', 'outer');
    await gitFor(directory, ['update-index', '--add', '--cacheinfo', `160000,${innerCommit},in`]);
    await gitFor(directory, ['commit', '--quiet', '--message=submodule']);
    const server = await serve('robot:s3cret');
    const source = { url: `http://robot:s3cret@127.0.0.1:${server.port}/outer`, branch: null, commit: null };

    const left = await harness.git.checkout(source, place, { recursive: true });
    expect(left.lfsPointers).toEqual(['o.bin', 'in/i.bin']);
    expect(server.requests.some((path) => path.includes('lfs'))).toBe(false);

    const first = await harness.git.checkout(source, `${place}-2`, { recursive: true, lfs: true });
    expect(first).toMatchObject({ lfsPointers: [], warnings: [] });
    expect(await readFile(join(`${place}-2`, 'o.bin'), 'utf8')).toBe(content);
    expect(await readFile(join(`${place}-2`, 'in', 'i.bin'), 'utf8')).toBe(content);
    expect(await harness.sources.changed(`${place}-2`)).toEqual([]);

    const asked = server.requests.filter((path) => path.includes('/lfs-object/')).length;
    expect(await harness.git.checkout({ ...source, commit: first.commit }, `${place}-3`, { recursive: true, lfs: true })).toMatchObject({
      lfsPointers: [],
    });
    expect(server.requests.filter((path) => path.includes('/lfs-object/'))).toHaveLength(asked);
    const found = execFileSync('sh', ['-c', 'grep -rl s3cret "$1" || true', 'sh', harness.root]).toString();
    expect(found).toBe('');
  });

  it('asks the server of gitMirror, whatever .lfsconfig says', async () => {
    const origin = await harness.origin('one');
    await origin.commit({
      '.gitattributes': attributes,
      'o.bin': pointer(oid),
      '.lfsconfig': '[lfs]\n\turl = http://127.0.0.1:1/stolen\n',
    });
    const server = await serve();
    const git = realGit(harness.root, { gitMirror: () => ({ 'https://example.invalid/': `http://127.0.0.1:${server.port}/` }) });
    const source = { url: 'https://example.invalid/one', branch: null, commit: null };
    expect(await git.checkout(source, place, { recursive: false, lfs: true })).toMatchObject({ lfsPointers: [], warnings: [] });
    expect(await readFile(join(place, 'o.bin'), 'utf8')).toBe(content);
  });

  it('is a warning when an object is gone: the work tree is whole as far as git goes', async () => {
    const origin = await harness.origin('one');
    const commit = await origin.commit({ '.gitattributes': attributes, 'o.bin': pointer('a'.repeat(64)) });
    const server = await serve();
    const source = { url: `http://127.0.0.1:${server.port}/one`, branch: null, commit: null };
    expect(await harness.git.checkout(source, place, { recursive: false, lfs: true })).toMatchObject({
      commit,
      lfsPointers: ['o.bin'],
      warnings: [expect.stringMatching(/Git LFS files/)],
    });
  });

  it('fetches from a repository on this machine', async () => {
    const origin = await harness.origin('one');
    await origin.commit({ '.gitattributes': attributes, 'o.bin': pointer(oid) });
    const directory = join(harness.root, 'origins', 'one');
    const objects = join(directory, '.git', 'lfs', 'objects', oid.slice(0, 2), oid.slice(2, 4));
    await mkdir(objects, { recursive: true });
    await writeFile(join(objects, oid), content);
    expect(
      await harness.git.checkout({ url: origin.url, branch: null, commit: null }, place, { recursive: false, lfs: true }),
    ).toMatchObject({
      lfsPointers: [],
      warnings: [],
    });
  });
});
