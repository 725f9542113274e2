import { execFileSync } from 'node:child_process';
import { mkdir, readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { GitSource } from '../../../src/ports/git.ts';
import { eventually } from '../../support/eventually.ts';
import { type GitHarness, realGit, realGitHarness } from '../../support/git/harness.ts';
import { gitFor } from '../../support/git/origin.ts';
import { closedPort, type GitHttpOptions, type GitHttpServer, startGitDaemon, startGitHttp } from '../../support/git/servers.ts';

const source = (url: string, change: Partial<GitSource> = {}): GitSource => ({ url, branch: null, commit: null, ...change });

/** git over loopback: what networks, servers and credentials do to it. */
describe('git over the network', () => {
  let harness: GitHarness;
  let place: string;
  const closers: (() => Promise<void>)[] = [];
  const serve = async (options: Omit<GitHttpOptions, 'directory'> = {}): Promise<GitHttpServer> => {
    const server = await startGitHttp({ directory: join(harness.root, 'origins'), ...options });
    closers.push(() => server.close());
    return server;
  };
  /** Command lines that hold the text, of all processes of this machine. */
  const processesOf = async (text: string): Promise<string> => {
    const pids = (await readdir('/proc')).filter((name) => /^\d+$/.test(name));
    const lines = await Promise.all(pids.map((pid) => readFile(`/proc/${pid}/cmdline`, 'utf8').catch(() => '')));
    return lines
      .filter((line) => line.includes(text))
      .join('\n')
      .replaceAll('\0', ' ');
  };

  beforeEach(async () => {
    harness = await realGitHarness();
    place = join(harness.root, 'trees', 'tree');
  });
  afterEach(async () => {
    for (const close of closers.splice(0)) await close();
    await harness.close();
  });

  it('clones over http', async () => {
    const origin = await harness.origin('one');
    const commit = await origin.commit({ a: '1' });
    const server = await serve();
    const url = `http://127.0.0.1:${server.port}/one`;
    expect(await harness.git.checkout(source(url), place, { recursive: false })).toMatchObject({ commit, branch: 'main' });
    const asked = server.requests.length;
    await harness.git.checkout(source(url, { commit }), `${place}-2`, { recursive: true });
    expect(server.requests).toHaveLength(asked);
  });

  it('clones from git daemon, and knows what it does not export', async () => {
    const origin = await harness.origin('one');
    const commit = await origin.commit({ a: '1' });
    const daemon = await startGitDaemon(join(harness.root, 'origins'));
    if (daemon === null) return void console.log('skipped: git daemon is not installed');
    closers.push(daemon.close);
    expect(await harness.git.checkout(source(`git://127.0.0.1:${daemon.port}/one`), place, { recursive: false })).toMatchObject({ commit });
    await expect(harness.git.resolve(source(`git://127.0.0.1:${daemon.port}/two`))).rejects.toMatchObject({ code: 'REPOSITORY_NOT_FOUND' });
  });

  it('uses credentials of the URL without writing or showing them', async () => {
    const origin = await harness.origin('private');
    const commit = await origin.commit({ a: '1' });
    const inner = await harness.origin('inner');
    await inner.commit({ b: '1' });
    const server = await serve({ credentials: 'robot:s3cret/t0ken' });
    const url = `http://robot:s3cret%2Ft0ken@127.0.0.1:${server.port}/private`;
    const log: string[] = [];
    const write = (facts: object, message: string): void => void log.push(JSON.stringify(facts) + message);
    const logger = { debug: write, info: write, warn: write, error: write, child: () => logger };
    const git = realGit(harness.root, { log: logger });
    // A relative submodule of a private repository lies on the same host.
    await gitFor(join(harness.root, 'origins', 'private'), [
      '-c',
      'protocol.file.allow=always',
      'submodule',
      '--quiet',
      'add',
      '../inner',
      'inner',
    ]);
    await gitFor(join(harness.root, 'origins', 'private'), ['commit', '--quiet', '--message=submodule']);

    await git.checkout(source(url), place, { recursive: true });
    expect(await readFile(join(place, 'inner', 'b'), 'utf8')).toBe('1');
    await git.updateInPlace(source(url), `${place}-shared`);
    expect(await gitFor(place, ['remote', 'get-url', 'origin'])).toBe(`http://127.0.0.1:${server.port}/private`);
    const found = execFileSync('sh', [
      '-c',
      'grep -rlE "s3cret|$1" "$2" || true',
      'sh',
      Buffer.from('robot:s3cret/t0ken').toString('base64'),
      harness.root,
    ]).toString();
    expect(found).toBe('');
    expect(log.join('\n')).not.toMatch(/s3cret/);

    const wrong = git.resolve(source(url.replace('s3cret', 'wr0ng'), { branch: 'main' }));
    await expect(wrong).rejects.toMatchObject({ code: 'REPOSITORY_NOT_FOUND', message: expect.not.stringMatching(/wr0ng|t0ken/) });
    const error = await wrong.catch((thrown: unknown) => thrown);
    expect(JSON.stringify((error as { details: unknown }).details)).not.toMatch(/wr0ng|t0ken/);
    await expect(git.resolve(source(`http://127.0.0.1:${server.port}/private`))).rejects.toMatchObject({ code: 'REPOSITORY_NOT_FOUND' });
    expect(commit).toMatch(/^[0-9a-f]{40}$/);
  });

  it('takes credentials nowhere else: not to a redirect, a submodule of another host, or a mirror', async () => {
    const inner = await harness.origin('inner');
    const commit = await inner.commit({ a: '1' });
    const seen: string[] = [];
    const other = await serve({ onRequest: ({ headers }) => void seen.push(String(headers.authorization ?? 'none')) });
    const server = await serve({
      credentials: 'robot:s3cret',
      redirect: (path, authorized) => {
        const [, kind, rest] = /^\/(moved|hidden)\/(.*)$/.exec(path) ?? [];
        return kind === 'moved' || (kind === 'hidden' && authorized) ? `http://127.0.0.1:${other.port}/inner/${rest}` : null;
      },
    });
    const outer = await harness.origin('outer');
    await outer.commit({ '.gitmodules': `[submodule "in"]\n\tpath = in\n\turl = http://127.0.0.1:${other.port}/inner\n` });
    await gitFor(join(harness.root, 'origins', 'outer'), ['update-index', '--add', '--cacheinfo', `160000,${commit},in`]);
    await gitFor(join(harness.root, 'origins', 'outer'), ['commit', '--quiet', '--message=submodule']);

    const at = (port: number, path: string): string => `http://robot:s3cret@127.0.0.1:${port}/${path}`;
    expect(await harness.git.checkout(source(at(server.port, 'outer')), place, { recursive: true })).toMatchObject({
      submodules: [{ path: 'in', commit }],
    });
    expect(await harness.git.resolve(source(at(server.port, 'moved')))).toMatchObject({ commit });
    expect(await harness.git.checkout(source(at(server.port, 'moved')), `${place}-2`, { recursive: false })).toMatchObject({ commit });
    // git does not follow this one to its end, but its first step went there with whatever git sends along.
    const asked = seen.length;
    await harness.git.resolve(source(at(server.port, 'hidden'))).catch(() => {});
    expect(seen.length).toBeGreaterThan(asked);
    const git = realGit(harness.root, { gitMirror: () => ({ 'http://example.invalid/': `http://127.0.0.1:${other.port}/` }) });
    await git.resolve(source('http://robot:s3cret@example.invalid/inner'));
    expect(seen.length).toBeGreaterThan(5);
    expect(new Set(seen)).toEqual(new Set(['none']));
  });

  it('shows no credentials in the argv of any process', async () => {
    const server = await serve({ instead: () => 'hold' });
    const controller = new AbortController();
    const running = harness.git.resolve(source(`http://robot:s3cret-t0ken@127.0.0.1:${server.port}/x`), { signal: controller.signal });
    running.catch(() => {});
    await eventually('git asks', () => server.held() > 0);
    expect(await processesOf(`127.0.0.1:${server.port}`)).toMatch(/ls-remote/);
    expect(await processesOf(`127.0.0.1:${server.port}`)).not.toMatch(/s3cret/);
    controller.abort();
    await expect(running).rejects.toMatchObject({ code: 'INTERRUPTED' });
  });

  it('tells a closed port, an unknown host and a server error from a wrong repository', async () => {
    await harness.origin('one').then((origin) => origin.commit({ a: '1' }));
    const server = await serve({ instead: (path) => (path.startsWith('/broken') ? 503 : null) });
    const resolve = (url: string) => harness.git.resolve(source(url));
    const port = await closedPort();
    await expect(resolve(`http://127.0.0.1:${port}/one`)).rejects.toMatchObject({ code: 'REPOSITORY_UNREACHABLE', retryable: true });
    await expect(resolve(`git://127.0.0.1:${port}/one`)).rejects.toMatchObject({ code: 'REPOSITORY_UNREACHABLE', retryable: true });
    await expect(resolve('http://no-such-host.invalid/one')).rejects.toMatchObject({ code: 'REPOSITORY_UNREACHABLE', retryable: true });
    await expect(resolve(`http://127.0.0.1:${server.port}/broken`)).rejects.toMatchObject({
      code: 'REPOSITORY_UNREACHABLE',
      retryable: true,
    });
    await expect(resolve(`http://127.0.0.1:${server.port}/two`)).rejects.toMatchObject({ code: 'REPOSITORY_NOT_FOUND', retryable: false });
  });

  it('gives up on a server that falls silent, and can be retried', async () => {
    await harness.origin('one').then((origin) => origin.commit({ a: '1' }));
    let silent = true;
    const server = await serve({ instead: (path) => (silent && path.endsWith('/git-upload-pack') ? 'hold' : null) });
    const git = realGit(harness.root, { timeoutMs: 700 });
    const url = `http://127.0.0.1:${server.port}/one`;
    await expect(git.resolve(source(url))).rejects.toMatchObject({
      code: 'REPOSITORY_UNREACHABLE',
      retryable: true,
      message: expect.stringMatching(/said nothing/),
    });
    expect(await processesOf(`127.0.0.1:${server.port}`)).toBe('');
    silent = false;
    await realGit(harness.root).resolve(source(url));
  });

  it('leaves nothing at the place, and no process, when aborted midway', async () => {
    await harness.origin('one').then((origin) => origin.commit({ a: '1' }));
    let posts = 0;
    // ls-remote is served, the fetch after it is not.
    const server = await serve({ instead: (path) => (path.endsWith('/git-upload-pack') && ++posts > 1 ? 'hold' : null) });
    const controller = new AbortController();
    const running = harness.git.checkout(source(`http://127.0.0.1:${server.port}/one`), place, {
      recursive: false,
      signal: controller.signal,
    });
    running.catch(() => {});
    await eventually('the fetch hangs', () => server.held() > 0);
    // Another caller that waits for the same mirror can leave at once.
    const other = new AbortController();
    const waiting = harness.git.resolve(source(`http://127.0.0.1:${server.port}/one`, { commit: 'f'.repeat(40) }), {
      signal: other.signal,
    });
    waiting.catch(() => {});
    other.abort();
    await expect(waiting).rejects.toMatchObject({ code: 'INTERRUPTED' });
    controller.abort();
    await expect(running).rejects.toMatchObject({ code: 'INTERRUPTED' });
    expect(await readdir(join(harness.root, 'trees'))).toEqual([]);
    expect(await processesOf(`127.0.0.1:${server.port}`)).toBe('');
  });

  it('lets no remote repository reach into the disk of this machine by a submodule', async () => {
    const secret = await harness.origin('secret');
    await secret.commit({ key: 'private' });
    const outer = await harness.origin('outer');
    await outer.commit({ a: '1' });
    await outer.submodule('loot', secret.url);
    const server = await serve();
    await expect(harness.git.checkout(source(`http://127.0.0.1:${server.port}/outer`), place, { recursive: true })).rejects.toMatchObject({
      code: 'SOURCE_REFUSED',
      message: expect.stringMatching(/loot.*not allowed/),
    });
    expect(await readdir(join(harness.root, 'trees'))).toEqual([]);
  });

  it('lets no submodule run a command or write outside of the work tree', async () => {
    const origin = await harness.origin('evil');
    await origin.commit({ a: '1' });
    const directory = origin.url.replace('file://', '');
    const touched = join(harness.root, 'touched');
    const attack = async (modules: string, path: string): Promise<void> => {
      const head = await gitFor(directory, ['rev-parse', 'HEAD']);
      await writeFile(join(directory, '.gitmodules'), modules);
      await gitFor(directory, ['add', '.gitmodules']);
      await gitFor(directory, ['update-index', '--add', '--cacheinfo', `160000,${head},${path}`]);
      await gitFor(directory, ['commit', '--quiet', '--message=attack']);
    };
    const escaped = async (): Promise<boolean> => (await readdir(harness.root)).includes('touched');

    await attack(`[submodule "x"]\n\tpath = x\n\turl = ext::sh -c "touch ${touched}"\n`, 'x');
    await expect(harness.git.checkout(source(origin.url), place, { recursive: true })).rejects.toMatchObject({ code: 'SOURCE_REFUSED' });
    await attack(`[submodule "x"]\n\tpath = x\n\turl = ${origin.url}\n\tupdate = !touch ${touched}\n`, 'x');
    await expect(harness.git.checkout(source(origin.url), place, { recursive: true })).rejects.toMatchObject({ code: 'SOURCE_REFUSED' });
    await attack(`[submodule "../../../../touched"]\n\tpath = x\n\turl = ${origin.url}\n`, 'x');
    await expect(harness.git.checkout(source(origin.url), place, { recursive: true })).rejects.toMatchObject({ code: 'SOURCE_REFUSED' });
    expect(await escaped()).toBe(false);
  });

  it('refuses URLs that would make git run something', async () => {
    await mkdir(join(harness.root, 'x'));
    for (const url of ['ext::sh -c id', '--upload-pack=id', '-oProxyCommand=id', 'ssh://-oProxyCommand=id/x', 'fd::17', 'one\ntwo']) {
      await expect(harness.git.resolve(source(url))).rejects.toMatchObject({ code: 'REPOSITORY_NOT_FOUND' });
    }
  });
});
