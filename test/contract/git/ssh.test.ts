import { chmod, readdir, readFile, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { GitAdapter } from '../../../src/adapters/git/git.ts';
import type { SshOptions } from '../../../src/adapters/git/ssh.ts';
import type { GitSource } from '../../../src/ports/git.ts';
import { type GitHarness, realGit, realGitHarness } from '../../support/git/harness.ts';
import { closedPort } from '../../support/git/servers.ts';
import { findSshd, makeSshKey, type Sshd, startSshd } from '../../support/host/sshd.ts';

const source = (url: string, change: Partial<GitSource> = {}): GitSource => ({ url, branch: null, commit: null, ...change });
const sshd = await findSshd();
if ('skipped' in sshd) console.log(`skipped: git over SSH: ${sshd.skipped}`);

let harness: GitHarness;
let key: string;
let opened: GitAdapter[] = [];
const withSsh = (ssh: Partial<SshOptions>): GitAdapter => {
  const git = realGit(harness.root, { ssh: { knownHosts: '', ...ssh } });
  opened.push(git);
  return git;
};
beforeEach(async () => {
  harness = await realGitHarness();
  key = await makeSshKey(join(harness.root, 'keys'), 'deploy');
});
afterEach(async () => {
  for (const git of opened) await git.close();
  opened = [];
  await harness.close();
});

describe('SSH keys', () => {
  const remote = 'ssh://git@127.0.0.1:1/repository.git';

  it.each([
    ['may be read by others', async () => chmod(key, 0o644)],
    ['does not begin as a private key does', async () => writeFile(key, 'nonsense\n')],
    ['is a public key', async () => writeFile(key, await readFile(`${key}.pub`))],
    ['is cut off', async () => writeFile(key, (await readFile(key, 'utf8')).slice(0, 200))],
    ['has Windows line ends', async () => writeFile(key, (await readFile(key, 'utf8')).replaceAll('\n', '\r\n'))],
  ])('says that a key file %s', async (words, spoil) => {
    await spoil();
    const git = withSsh({ keyFile: key });
    const failure = git.resolve(source(remote));
    await expect(failure).rejects.toMatchObject({ code: 'SSH_KEY_INVALID' });
    await expect(failure).rejects.toThrow(words);
    // Other remotes do not need it.
    const origin = await harness.origin('one');
    const commit = await origin.commit({ a: '1' });
    expect(await git.resolve(source(origin.url))).toMatchObject({ commit });
  });

  it('says that a key file does not exist', async () => {
    await expect(withSsh({ keyFile: join(harness.root, 'nothing') }).resolve(source(remote))).rejects.toThrow(/does not exist/);
  });

  it('says that nothing answers', async () => {
    const failure = withSsh({ keyFile: key }).resolve(source(`ssh://git@127.0.0.1:${await closedPort()}/one`));
    await expect(failure).rejects.toMatchObject({ code: 'REPOSITORY_UNREACHABLE', retryable: true });
  });

  it('writes a key from text for its owner only, and removes it at the end', async () => {
    const git = withSsh({ keyText: await readFile(key, 'utf8') });
    await git.resolve(source(remote)).catch(() => {});
    const directory = join(harness.root, 'state', 'git', 'ssh');
    expect((await stat(directory)).mode & 0o777).toBe(0o700);
    expect((await stat(join(directory, 'key'))).mode & 0o777).toBe(0o600);
    expect(await readFile(join(directory, 'key'), 'utf8')).toBe(await readFile(key, 'utf8'));
    await git.close();
    expect(await readdir(directory)).not.toContain('key');
  });
});

describe.skipIf('skipped' in sshd)('git over SSH', () => {
  let server: Sshd;
  let commit: string;
  const url = (name = 'one'): string => `ssh://${server.user}@127.0.0.1:${server.port}${join(harness.root, 'origins', name)}`;

  beforeEach(async () => {
    server = await startSshd('path' in sshd ? sshd.path : '', join(harness.root, 'sshd'), `${key}.pub`);
    commit = await (await harness.origin('one')).commit({ a: '1' });
  });
  afterEach(() => server.close());

  it('clones with a key file, and with a key from text', async () => {
    const byFile = withSsh({ keyFile: key, knownHosts: server.hostKey });
    expect(await byFile.checkout(source(url()), join(harness.root, 'by-file'), { recursive: true })).toMatchObject({ commit });
    const byText = withSsh({ keyText: await readFile(key, 'utf8'), knownHosts: server.hostKey });
    expect(await byText.checkout(source(url()), join(harness.root, 'by-text'), { recursive: true })).toMatchObject({ commit });
    await expect(byFile.resolve(source(url('two')))).rejects.toMatchObject({ code: 'REPOSITORY_NOT_FOUND' });
  });

  it('refuses a host that is not known, until its key is added', async () => {
    const knownHostsFile = join(harness.root, 'known hosts');
    await writeFile(knownHostsFile, '');
    const git = withSsh({ keyFile: key, knownHostsFile });
    const failure = git.resolve(source(url()));
    await expect(failure).rejects.toMatchObject({ code: 'HOST_KEY_UNKNOWN', help: expect.stringMatching(/knownHostsFile/) });
    await writeFile(knownHostsFile, server.hostKey);
    expect(await git.resolve(source(url()))).toMatchObject({ commit });
  });

  it('refuses a host whose key changed', async () => {
    const other = await makeSshKey(join(harness.root, 'keys'), 'other-host');
    const [type, wrong] = (await readFile(`${other}.pub`, 'utf8')).split(' ');
    const git = withSsh({ keyFile: key, knownHosts: `[127.0.0.1]:${server.port} ${type} ${wrong}\n` });
    await expect(git.resolve(source(url()))).rejects.toMatchObject({ code: 'HOST_KEY_CHANGED', retryable: false });
  });

  it('says that the key was refused', async () => {
    const other = await makeSshKey(join(harness.root, 'keys'), 'other');
    await expect(withSsh({ keyFile: other, knownHosts: server.hostKey }).resolve(source(url()))).rejects.toMatchObject({
      code: 'REPOSITORY_NOT_FOUND',
      message: expect.stringMatching(/refused the SSH key/),
    });
    await expect(withSsh({ knownHosts: server.hostKey }).resolve(source(url()))).rejects.toThrow(/no key was given/);
  });
});
