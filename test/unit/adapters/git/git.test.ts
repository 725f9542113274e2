import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { gitEnvironment, secretsOf } from '../../../../src/adapters/git/environment.ts';
import { gitError, isDamage } from '../../../../src/adapters/git/errors.ts';
import { mirrorName } from '../../../../src/adapters/git/mirror.ts';
import { parseGitProgress, progressReader } from '../../../../src/adapters/git/progress.ts';
import { isRefName, nearestNames, parseRemoteRefs } from '../../../../src/adapters/git/refs.ts';
import { sshConfig } from '../../../../src/adapters/git/ssh.ts';
import { parseGitUrl } from '../../../../src/domain/installation/git-url.ts';
import type { GitProgress } from '../../../../src/ports/git.ts';

const failure = (stderr: string, url: string | null = 'https://host.org/o/r') =>
  gitError({ stderr, exitCode: 128, doing: 'fetching', url });

describe('git errors', () => {
  it.each([
    ["fatal: unable to access 'https://host.org/o/r/': Could not resolve host: host.org", 'REPOSITORY_UNREACHABLE', true],
    [
      'ssh: Could not resolve hostname host.org: Name or service not known\nfatal: Could not read from remote repository.',
      'REPOSITORY_UNREACHABLE',
      true,
    ],
    [
      'ssh: connect to host host.org port 22: Connection refused\nfatal: Could not read from remote repository.',
      'REPOSITORY_UNREACHABLE',
      true,
    ],
    ['ssh: connect to host host.org port 22: Connection timed out\r\nfatal: Could not read', 'REPOSITORY_UNREACHABLE', true],
    ['kex_exchange_identification: Connection closed by remote host', 'REPOSITORY_UNREACHABLE', true],
    ["fatal: unable to access 'x': The requested URL returned error: 503", 'REPOSITORY_UNREACHABLE', true],
    ["fatal: unable to access 'x': The requested URL returned error: 429", 'REPOSITORY_UNREACHABLE', true],
    [
      'error: RPC failed; curl 92 HTTP/2 stream 5 was not closed cleanly\nfatal: early EOF\nfatal: index-pack failed',
      'REPOSITORY_UNREACHABLE',
      true,
    ],
    [
      "fatal: unable to access 'x': GnuTLS recv error (-110): The TLS connection was non-properly terminated.",
      'REPOSITORY_UNREACHABLE',
      true,
    ],
    ["fatal: unable to access 'x': server certificate verification failed. CAfile: none CRLfile: none", 'REPOSITORY_UNREACHABLE', false],
    ["fatal: unable to access 'x': server certificate verification failed. CAfile: /x CRLfile: none", 'REPOSITORY_UNREACHABLE', false],
    ["fatal: repository 'https://host.org/o/r/' not found", 'REPOSITORY_NOT_FOUND', false],
    ['remote: Repository not found.\nfatal: Authentication failed for x', 'REPOSITORY_NOT_FOUND', false],
    ['ERROR: Repository not found.\nfatal: Could not read from remote repository.', 'REPOSITORY_NOT_FOUND', false],
    ["fatal: could not read Username for 'https://github.com': terminal prompts disabled", 'REPOSITORY_NOT_FOUND', false],
    ['git@host.org: Permission denied (publickey).\nfatal: Could not read from remote repository.', 'REPOSITORY_NOT_FOUND', false],
    [
      "fatal: '/srv/x' does not appear to be a git repository\nfatal: Could not read from remote repository.",
      'REPOSITORY_NOT_FOUND',
      false,
    ],
    ['fatal: remote error: access denied or repository not exported: /x', 'REPOSITORY_NOT_FOUND', false],
    ["fatal: couldn't find remote ref refs/heads/x", 'BRANCH_NOT_FOUND', false],
    [`fatal: remote error: upload-pack: not our ref ${'a'.repeat(40)}`, 'COMMIT_NOT_FOUND', false],
    [`error: Server does not allow request for unadvertised object ${'a'.repeat(40)}`, 'COMMIT_NOT_FOUND', false],
    [
      "fatal: Fetched in submodule path 'libs/x', but it did not contain aaaa. Direct fetching of that commit failed.",
      'COMMIT_NOT_FOUND',
      false,
    ],
    ['@@@\n@    WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED!     @\nHost key verification failed.', 'HOST_KEY_CHANGED', false],
    [
      'No ED25519 host key is known for host.org and you have requested strict checking.\nHost key verification failed.',
      'HOST_KEY_UNKNOWN',
      false,
    ],
    ['Load key "/k": error in libcrypto\ngit@host.org: Permission denied (publickey).', 'SSH_KEY_INVALID', false],
    ['fatal: write error: No space left on device\nfatal: index-pack failed', 'DISK_FULL', true],
    ['error: cannot run ssh: No such file or directory\nfatal: unable to fork', 'GIT_MISSING', false],
    ['Error: spawn git ENOENT\n    at x', 'GIT_MISSING', false],
    ['something unheard of', 'COMMAND_FAILED', false],
  ] as const)('%s', (stderr, code, retryable) => {
    expect(failure(stderr)).toMatchObject({ code, retryable });
    expect(isDamage(failure(stderr))).toBe(false);
  });

  it('names the missing certificates of authorities', () => {
    const { message, help } = failure("fatal: unable to access 'x': server certificate verification failed. CAfile: none CRLfile: none");
    expect(message).toContain('no certificates of authorities');
    expect(help).toContain('apt install ca-certificates');
  });

  it.each([
    'fatal: not a git repository (or any of the parent directories): .git',
    "error: cannot lock ref 'refs/heads/main': Unable to create '/c/refs/heads/main.lock': File exists.",
    'error: object file objects/ab/cd is empty\nfatal: loose object abcd is corrupt',
    'error: packfile ./objects/pack/x.pack does not match index\nfatal: bad object abcd',
  ])('knows local damage: %s', (stderr) => {
    expect(isDamage(failure(stderr))).toBe(true);
  });

  it('passes progress over, names what it stands for and shows no credentials', () => {
    const stderr =
      "Receiving objects:  45% (9/20)\rReceiving objects: 100% (20/20), done.\nfatal: unable to access 'https://u:tok@m.org/s/': Could not resolve host: m.org";
    const error = gitError({ stderr, exitCode: 128, doing: 'fetching', url: 'https://u:tok@m.org/s', insteadOf: 'https://host.org/s' });
    expect(error.message).toMatch(/https:\/\/m.org\/s \(install.gitMirror for https:\/\/host.org\/s\)/);
    expect(JSON.stringify([error.message, error.details])).not.toMatch(/tok|Receiving/);
  });

  it('says so when a signal ended git', () => {
    expect(gitError({ stderr: '', exitCode: null, doing: 'fetching', url: null }).message).toMatch(/ended by a signal/);
  });
});

describe('git refs', () => {
  it('reads ls-remote and peels tags', () => {
    const [a, b, c] = ['a', 'b', 'c'].map((digit) => digit.repeat(40));
    const output = `ref: refs/heads/main\tHEAD\n${a}\tHEAD\n${a}\trefs/heads/main\n${b}\trefs/tags/v1\n${c}\trefs/tags/v1^{}\nwarning: x\n`;
    expect(parseRemoteRefs(output)).toEqual({
      head: 'refs/heads/main',
      headCommit: a,
      refs: [
        { name: 'refs/heads/main', commit: a },
        { name: 'refs/tags/v1', commit: c },
      ],
    });
  });

  it('puts the likeliest names first', () => {
    expect(nearestNames('foward', ['main', 'forward', 'forward-old', 'x'], 2)).toEqual(['forward', 'forward-old']);
    expect(nearestNames('Main', ['develop', 'main'], 5)[0]).toBe('main');
    expect(nearestNames('x', [], 5)).toEqual([]);
  });

  it.each([
    ['main', true],
    ['feature/x.y', true],
    ['v1.0', true],
    ['-x', false],
    ['a..b', false],
    ['a b', false],
    ['a*', false],
    ['/a', false],
    ['a.lock', false],
    ['', false],
  ])('takes %j for a name: %s', (name, valid) => {
    expect(isRefName(name)).toBe(valid);
  });
});

describe('git progress', () => {
  it.each([
    ['Receiving objects:  45% (123/270), 1.50 MiB | 3.00 MiB/s', { stage: 'receiving objects', fraction: 0.45, bytes: 1_572_864 }],
    ['remote: Counting objects: 100% (5/5), done.', { stage: 'counting objects', fraction: 1, bytes: null }],
    ['remote: Enumerating objects: 12, done.', { stage: 'enumerating objects', fraction: null, bytes: null }],
    ['Updating files:  40% (4/10)', { stage: 'updating files', fraction: 0.4, bytes: null }],
    ['Receiving objects: 100% (3/3), 512 bytes | 512.00 KiB/s, done.', { stage: 'receiving objects', fraction: 1, bytes: 512 }],
    ["Cloning into 'x'...", null],
    ['fatal: nothing', null],
  ])('reads %s', (line, expected) => {
    expect(parseGitProgress(line)).toEqual(expected);
  });

  it('adds up transfers, joins chunks and repeats nothing', () => {
    const seen: GitProgress[] = [];
    const read = progressReader((progress) => seen.push(progress));
    read('Receiving obj');
    read(
      'ects:  50% (1/2), 100 bytes | 1 KiB/s\rReceiving objects:  50% (1/2), 100 bytes | 1 KiB/s\rReceiving objects: 100% (2/2), 200 bytes | 1 KiB/s\n',
    );
    read('Receiving objects:  50% (1/2), 50 bytes | 1 KiB/s\n');
    expect(seen.map(({ bytes }) => bytes)).toEqual([100, 200, 250]);
  });
});

describe('the environment of git', () => {
  const files = { home: '/s/home', globalConfig: '/s/config', sshConfig: "/s/it's here/ssh_config" };
  const inherited = {
    PATH: '/bin',
    HOME: '/root',
    GIT_DIR: '/x',
    SSH_AUTH_SOCK: '/agent',
    https_proxy: 'http://proxy',
    AWS_SECRET_ACCESS_KEY: 'x',
    GIT_SSL_CAINFO: '/ca',
  };

  it('passes on what was agreed and nothing else', () => {
    const environment = gitEnvironment(inherited, files, { cwd: '/r/a', marker: 'm' });
    expect(environment).toMatchObject({
      PATH: '/bin',
      HOME: '/s/home',
      https_proxy: 'http://proxy',
      GIT_SSL_CAINFO: '/ca',
      GIT_CEILING_DIRECTORIES: '/r',
    });
    for (const name of ['GIT_DIR', 'SSH_AUTH_SOCK', 'AWS_SECRET_ACCESS_KEY']) expect(environment).not.toHaveProperty(name);
    expect(environment['GIT_SSH_COMMAND']).not.toContain('/s/');
  });

  it('scopes credentials to their host, and keeps local files from remote repositories', () => {
    const remote = parseGitUrl('https://u:p4ssword@host.org/o/r');
    const environment = gitEnvironment({}, files, { cwd: '/r', marker: 'm', remote });
    const last = Number(environment['GIT_CONFIG_COUNT']) - 1;
    expect(environment[`GIT_CONFIG_KEY_${last}`]).toBe('credential.https://host.org/.helper');
    expect(environment[`GIT_CONFIG_VALUE_${last}`]).not.toContain('p4ssword');
    expect(environment).toMatchObject({ COMFYLET_GIT_USER: 'u', COMFYLET_GIT_PASSWORD: 'p4ssword', GIT_ALLOW_PROTOCOL: 'https' });
    expect(secretsOf(remote)).toContain('p4ssword');
    const protocols = (url: string) =>
      gitEnvironment({}, files, { cwd: '/r', marker: 'm', remote: parseGitUrl(url) })['GIT_ALLOW_PROTOCOL'];
    expect(['/srv/r', 'http://h/r', 'git@h:r', 'git://h/r'].map(protocols)).toEqual(['file', 'http:https', 'ssh', 'git']);
    expect(gitEnvironment({}, files, { cwd: '/r', marker: 'm' })['GIT_ALLOW_PROTOCOL']).toBe('file');
  });
});

describe('ssh', () => {
  it('is strict and silent', () => {
    const config = sshConfig('/s/known_hosts', '/k y');
    for (const line of [
      'BatchMode yes',
      'StrictHostKeyChecking yes',
      'IdentitiesOnly yes',
      'IdentityAgent none',
      'GlobalKnownHostsFile /dev/null',
      'IdentityFile "/k y"',
    ])
      expect(config).toContain(`  ${line}\n`);
    expect(sshConfig('/s/known_hosts', null)).toContain('IdentityFile none');
    for (const path of ['/a"b', '/a\nProxyCommand x', '/a%h', '/a$HOME', 'relative'])
      expect(() => sshConfig('/s/k', path)).toThrowError(/cannot be given the path/);
  });

  // As published by GitHub and GitLab on the pages named in the file.
  it('ships host keys with the published fingerprints', () => {
    const lines = readFileSync(join(import.meta.dirname, '../../../../assets/known_hosts'), 'utf8')
      .split('\n')
      .filter((line) => line !== '' && !line.startsWith('#'));
    const fingerprints = lines.map((line) => {
      const [host, type, key = ''] = line.split(' ');
      return `${host} ${type} ${createHash('sha256').update(Buffer.from(key, 'base64')).digest('base64').replace(/=+$/, '')}`;
    });
    expect(fingerprints).toEqual([
      'github.com ssh-ed25519 +DiY3wvvV6TuJJhbpZisF/zLDA0zPMSvHdkr4UvCOqU',
      'github.com ecdsa-sha2-nistp256 p2QAMXNIC1TJYWeIOttrVc98/R1BUFWu3/LiyKgUfQM',
      'github.com ssh-rsa uNiVztksCsDhcc0u9e8BujQXVUpKZIDTMczCvj3tD2s',
      'gitlab.com ssh-ed25519 eUXGGm1YGsMAS7vkcx6JOJdOGHPem5gQp4taiCfCLB8',
      'gitlab.com ecdsa-sha2-nistp256 HbW3g8zUjNSksFbqTiUWPWg2Bq1x8xdGUrliXFzSnUw',
      'gitlab.com ssh-rsa ROQFvPThGrW4RuWLoL9tq9I9zJ42fK4XywyRtbOz/EQ',
    ]);
  });
});

describe('mirrorName', () => {
  it('is readable, unique by URL and a plain file name', () => {
    expect(mirrorName('https://github.com/owner/repo.git')).toMatch(/^owner-repo-[0-9a-f]{8}\.git$/);
    expect(mirrorName('https://github.com/owner/repo')).not.toBe(mirrorName('https://github.com/owner/repo.git'));
    expect(mirrorName('/../..')).toMatch(/^repository-[0-9a-f]{8}\.git$/);
  });
});
