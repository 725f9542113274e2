import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { access, chmod, chown, mkdir, mkdtemp, readdir, readFile, rename, rm, stat, symlink, writeFile } from 'node:fs/promises';
import { createServer, type IncomingMessage, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { createShell } from '../../../src/adapters/shell/shell.ts';
import { createSources } from '../../../src/adapters/sources/sources.ts';
import type { RegistryVersion } from '../../../src/domain/installation/registry.ts';
import type { Logger } from '../../../src/ports/logs.ts';
import type { Sources } from '../../../src/ports/sources.ts';
import { createFakeSources, type FakeSourcesOptions } from '../../fakes/sources.ts';
import { LINK, type ZipPart, zipOf } from '../../support/zip.ts';

interface Harness {
  readonly root: string;
  readonly sources: Sources;
  readonly registryUrl: string;
  /** Publishes a zip and gives its URL. */
  publish(path: string, files: Readonly<Record<string, string>>): string;
  remove(path: string): void;
  version(id: string, version: RegistryVersion): void;
  /** Another machine, with caches of its own. */
  elsewhere(): Sources;
  close(): Promise<void>;
}

const logged: string[] = [];
const write = (facts: object, message: string): void => void logged.push(JSON.stringify(facts) + message);
const log: Logger = { debug: write, info: write, warn: write, error: write, child: () => log };

interface Answer {
  readonly status?: number;
  readonly headers?: Record<string, string>;
  readonly body?: Buffer | string;
}

async function serve(answer: (request: IncomingMessage) => Answer): Promise<{ server: Server; url: string }> {
  const server = createServer((request, response) => {
    const { status = 200, headers = {}, body = '' } = answer(request);
    response.writeHead(status, headers).end(body);
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return { server, url: `http://127.0.0.1:${(server.address() as AddressInfo).port}` };
}

const stop = async (server: Server): Promise<void> => {
  server.closeAllConnections();
  server.close();
  await once(server, 'close');
};

const real = (root: string, change: Partial<Parameters<typeof createSources>[0]> = {}): Sources =>
  createSources({
    cacheDirectory: join(root, 'cache'),
    recordsDirectory: join(root, 'records'),
    environment: {},
    timeoutMs: 10_000,
    log,
    ...change,
  });

async function realHarness(): Promise<Harness> {
  const root = await mkdtemp(join(tmpdir(), 'agent-sources-'));
  const archives = new Map<string, Buffer>();
  const versions = new Map<string, RegistryVersion[]>();
  const { server, url } = await serve(({ url: path = '' }) => {
    const archive = archives.get(path);
    if (archive !== undefined) return { body: archive };
    const [, id = '', version] = /^\/registry\/nodes\/([^/]+)\/versions(?:\/([^/?]+))?\?/.exec(path) ?? [];
    const known = (versions.get(id) ?? []).map((each) => ({
      version: each.version,
      downloadUrl: each.url,
      status: `NodeVersionStatus${each.status[0]?.toUpperCase()}${each.status.slice(1)}`,
      status_reason: each.statusReason ?? '',
    }));
    const found = version === undefined ? known : known.find((each) => each.version === version);
    return found === undefined || known.length === 0 ? { status: 404, body: '{"message":"no"}' } : { body: JSON.stringify(found) };
  });
  return {
    root,
    sources: real(root),
    elsewhere: () => real(join(root, 'elsewhere')),
    registryUrl: `${url}/registry/`,
    publish: (path, files) => {
      archives.set(`/${path}`, zipOf(Object.entries(files).map(([name, data]) => ({ name, data, deflate: true }))));
      return `${url}/${path}`;
    },
    remove: (path) => void archives.delete(`/${path}`),
    version: (id, version) => void versions.set(id, [...(versions.get(id) ?? []), version]),
    close: async () => {
      await stop(server);
      await rm(root, { recursive: true, force: true });
    },
  };
}

async function fakeHarness(): Promise<Harness> {
  const root = await mkdtemp(join(tmpdir(), 'agent-sources-fake-'));
  const archives: Record<string, Readonly<Record<string, string>>> = {};
  const registry: Record<string, RegistryVersion[]> = {};
  const files: FakeSourcesOptions['files'] = {
    readText: (path) => readFile(path, 'utf8').catch(() => null),
    writeText: async (path, content) => {
      await mkdir(dirname(path), { recursive: true });
      await writeFile(path, content);
    },
    exists: (path) =>
      access(path).then(
        () => true,
        () => false,
      ),
    isDirectory: (path) =>
      stat(path).then(
        (facts) => facts.isDirectory(),
        () => false,
      ),
    list: (directory) => readdir(directory),
    move: rename,
  };
  return {
    root,
    sources: createFakeSources({ archives, registry, files, archiveDirectory: join(root, 'archives') }),
    elsewhere: () => createFakeSources({ archives, registry, files, archiveDirectory: join(root, 'archives') }),
    registryUrl: 'https://registry.invalid',
    publish: (path, files) => {
      archives[`https://archives.invalid/${path}`] = files;
      return `https://archives.invalid/${path}`;
    },
    remove: (path) => void delete archives[`https://archives.invalid/${path}`],
    version: (id, version) => {
      registry[id] = [...(registry[id] ?? []), version];
    },
    close: () => rm(root, { recursive: true, force: true }),
  };
}

describe.each([
  ['fake', fakeHarness],
  ['real', realHarness],
] as const)('sources (%s)', (_name, start) => {
  let harness: Harness;
  let place: string;
  beforeEach(async () => {
    harness = await start();
    place = join(harness.root, 'packs', 'pack');
  });
  afterEach(() => harness.close());
  const text = (path: string): Promise<string> => readFile(join(place, path), 'utf8');

  it('unpacks an archive, and takes the one of a known digest from the cache', async () => {
    const url = harness.publish('a.zip', { '__init__.py': 'NODES = {}', 'web/a.js': 'a' });
    const seen: boolean[] = [];
    const onCache = (isCached: boolean) => seen.push(isCached);
    const { sha256 } = await harness.sources.archive({ url, sha256: null }, place, { onCache });
    expect(sha256).toMatch(/^[0-9a-f]{64}$/);
    expect(await text('web/a.js')).toBe('a');
    harness.remove('a.zip');
    expect(await harness.sources.archive({ url, sha256 }, `${place}-2`, { onCache })).toEqual({ sha256 });
    expect(seen).toEqual([false, true]);
    await expect(harness.sources.archive({ url, sha256: null }, `${place}-3`)).rejects.toMatchObject({ code: 'SOURCE_NOT_FOUND' });
  });

  it('hands the zip of an archive to another machine, which needs nothing else', async () => {
    const url = harness.publish('a.zip', { '__init__.py': 'NODES = {}' });
    const { sha256 } = await harness.sources.archive({ url, sha256: null }, place);
    const file = await harness.sources.archiveFile({ url, sha256 });
    await expect(harness.sources.archiveFile({ url, sha256: 'f'.repeat(64) })).rejects.toMatchObject({ code: 'DIGEST_DIFFERS' });
    harness.remove('a.zip');
    const elsewhere = harness.elsewhere();
    await expect(elsewhere.archive({ url, sha256 }, `${place}-2`)).rejects.toMatchObject({ code: 'SOURCE_NOT_FOUND' });
    await elsewhere.adoptArchive(file, sha256);
    expect(await elsewhere.archive({ url, sha256 }, `${place}-3`)).toEqual({ sha256 });
  });

  it('names both digests when they differ, and leaves nothing', async () => {
    const url = harness.publish('a.zip', { '__init__.py': '' });
    const { sha256 } = await harness.sources.archive({ url, sha256: null }, place);
    const wrong = 'f'.repeat(64);
    await expect(harness.sources.archive({ url, sha256: wrong }, `${place}-2`)).rejects.toMatchObject({
      code: 'DIGEST_DIFFERS',
      message: expect.stringMatching(new RegExp(`${sha256}.*${wrong}`)),
    });
    expect(await readdir(join(harness.root, 'packs'))).toEqual(['pack']);
  });

  it('copies a directory, with one digest for all its files', async () => {
    const from = join(harness.root, 'mine');
    await mkdir(join(from, 'lib', '__pycache__'), { recursive: true });
    await writeFile(join(from, '__init__.py'), '1');
    await writeFile(join(from, 'lib', 'a.py'), 'a');
    await writeFile(join(from, 'lib', '__pycache__', 'a.pyc'), 'x');
    const { sha256 } = await harness.sources.directory(from, place);
    expect(await text('lib/a.py')).toBe('a');
    expect(await readdir(join(place, 'lib'))).toEqual(['a.py']);
    expect(await harness.sources.directory(from, `${place}-2`)).toEqual({ sha256 });
    await writeFile(join(from, 'lib', 'a.py'), 'b');
    expect(await text('lib/a.py')).toBe('a');
    expect((await harness.sources.directory(from, `${place}-3`)).sha256).not.toBe(sha256);
    await expect(harness.sources.directory(join(harness.root, 'none'), `${place}-4`)).rejects.toMatchObject({ code: 'SOURCE_NOT_FOUND' });
  });

  it('sees what was changed and what was added later', async () => {
    const url = harness.publish('a.zip', { '__init__.py': '1', 'lib/a.py': 'a' });
    await harness.sources.archive({ url, sha256: null }, place);
    expect(await harness.sources.changed(place)).toEqual([]);
    expect(await harness.sources.untracked(place)).toEqual([]);
    await writeFile(join(place, '__init__.py'), '2');
    await mkdir(join(place, 'downloads', 'deep'), { recursive: true });
    await mkdir(join(place, 'lib', '__pycache__'));
    await writeFile(join(place, 'downloads', 'deep', 'x'), '');
    await writeFile(join(place, 'lib', '__pycache__', 'x'), '');
    await writeFile(join(place, 'lib', 'state.db'), '');
    expect(await harness.sources.changed(place)).toEqual(['__init__.py']);
    expect([...((await harness.sources.untracked(place)) ?? [])].sort()).toEqual(['downloads/', 'lib/state.db']);
    await mkdir(`${place}-2`);
    expect(await harness.sources.changed(`${place}-2`)).toBeNull();
    expect(await harness.sources.untracked(`${place}-2`)).toBeNull();
  });

  it('asks the registry for a version, or for the newest that is active', async () => {
    const { registryUrl } = harness;
    const version = (number: string, status: string, statusReason: string | null = null): RegistryVersion => ({
      version: number,
      url: `https://cdn.example.org/${number}.zip`,
      status,
      statusReason,
    });
    for (const each of [version('1.2.0', 'active'), version('1.10.0', 'active'), version('1.11.0', 'flagged', 'miner')])
      harness.version('a', each);
    const ask = (id: string, number: string | null) => harness.sources.registryVersion({ registryUrl, id, version: number });
    expect(await ask('a', null)).toEqual(version('1.10.0', 'active'));
    expect(await ask('a', '1.2.0')).toEqual(version('1.2.0', 'active'));
    expect(await ask('a', '1.11.0')).toEqual(version('1.11.0', 'flagged', 'miner'));
    harness.version('b', version('2.0.0', 'banned'));
    expect(await ask('b', null)).toMatchObject({ status: 'banned' });
    await expect(ask('a', '3.0.0')).rejects.toMatchObject({ code: 'SOURCE_NOT_FOUND' });
    await expect(ask('none', null)).rejects.toMatchObject({ code: 'SOURCE_NOT_FOUND' });
  });
});

describe('sources of strangers', () => {
  let root: string;
  let place: string;
  const servers: Server[] = [];
  beforeEach(async () => {
    root = await mkdtemp(join(tmpdir(), 'agent-sources-'));
    place = join(root, 'packs', 'pack');
    logged.length = 0;
  });
  afterEach(async () => {
    for (const server of servers.splice(0)) await stop(server);
    await rm(root, { recursive: true, force: true });
  });
  const http = async (answer: (request: IncomingMessage) => Answer): Promise<string> => {
    const { server, url } = await serve(answer);
    servers.push(server);
    return url;
  };
  const unpack = async (parts: readonly ZipPart[], change: Parameters<typeof real>[1] = {}) => {
    const url = await http(() => ({ body: zipOf(parts) }));
    return real(root, change).archive({ url: `${url}/x.zip`, sha256: null }, place);
  };

  it.each<[string, readonly ZipPart[]]>([
    ['a path above', [{ name: '../evil' }]],
    ['a path above, further on', [{ name: 'a/../../evil' }]],
    ['an absolute path', [{ name: '/etc/evil' }]],
    ['a drive', [{ name: 'C:/evil' }]],
    ['a backslash', [{ name: '..\\evil' }]],
    ['a control character', [{ name: 'a\nb' }]],
    ['an empty part', [{ name: 'a//b' }]],
    ['git data', [{ name: 'pack/.git/config', data: '[core]' }]],
    ['git data in other letters', [{ name: '.GIT/config' }]],
    [
      'the same path twice',
      [
        { name: 'a', data: '1' },
        { name: 'a', data: '2' },
      ],
    ],
    [
      'a file below a file',
      [
        { name: 'a', data: '1' },
        { name: 'a/b', data: '2' },
      ],
    ],
    [
      'a file below a link',
      [
        { name: 'l', data: '/tmp', mode: LINK },
        { name: 'l/x', data: '2' },
      ],
    ],
    ['a link out', [{ name: 'a/l', data: '../../evil', mode: LINK }]],
    ['an absolute link', [{ name: 'l', data: '/etc/passwd', mode: LINK }]],
    [
      'a link by way of another',
      [
        { name: 'd/d/l', data: '../..', mode: LINK },
        { name: 'x', data: 'd/d/l/../../evil', mode: LINK },
      ],
    ],
    ['a device', [{ name: 'dev', mode: 0o060644 }]],
    ['more than it says', [{ name: 'bomb', data: Buffer.alloc(1_000_000), deflate: true, size: 10 }]],
  ])('refuses an archive with %s', async (_what, parts) => {
    await expect(unpack(parts)).rejects.toMatchObject({ code: 'SOURCE_REFUSED' });
    expect(await readdir(root)).toEqual(['cache', 'packs']);
    expect(await readdir(join(root, 'packs'))).toEqual([]);
  });

  it('refuses too many entries, too many bytes, and too large a download', async () => {
    const parts = ['a', 'b', 'c'].map((name) => ({ name, data: 'x'.repeat(100) }));
    await expect(unpack(parts, { limits: { entries: 2, bytes: 1_000 } })).rejects.toMatchObject({ code: 'SOURCE_REFUSED' });
    await expect(unpack(parts, { limits: { entries: 3, bytes: 299 } })).rejects.toMatchObject({ code: 'SOURCE_REFUSED' });
    await expect(unpack(parts, { maxArchiveBytes: 100 })).rejects.toMatchObject({ code: 'SOURCE_REFUSED' });
    await unpack(parts, { limits: { entries: 3, bytes: 300 } });
  });

  it.each<[string, Buffer]>([
    ['no zip', Buffer.from('<html>')],
    ['cut off', zipOf([{ name: 'a', data: 'x'.repeat(500) }]).subarray(100)],
    ['encrypted', zipOf([{ name: 'a', flags: 1 }])],
    ['packed in another way', zipOf([{ name: 'a', data: 'x', method: 12 }])],
    ['with a wrong checksum', zipOf([{ name: 'a', data: 'x', crc: 1 }])],
    ['with broken data', zipOf([{ name: 'a', data: 'not deflated', method: 8 }])],
  ])('says that an archive is %s', async (_what, body) => {
    const url = await http(() => ({ body }));
    await expect(real(root).archive({ url: `${url}/x.zip`, sha256: null }, place)).rejects.toMatchObject({ code: 'ARCHIVE_INVALID' });
    expect(await readdir(join(root, 'packs'))).toEqual([]);
  });

  it('leaves out the one directory that holds everything, keeps modes and links within', async () => {
    await unpack([
      { name: 'pack-1.0/', mode: 0o040755 },
      { name: 'pack-1.0/__init__.py', data: '1' },
      { name: 'pack-1.0/bin/run', data: '#!/bin/sh', mode: 0o100755, deflate: true },
      { name: 'pack-1.0/lib/l.py', data: '../__init__.py', mode: LINK },
      { name: 'pack-1.0/umlaut-ü.txt', data: 'ü' },
      { name: 'pack-1.0/empty/', mode: 0o040755 },
    ]);
    expect((await readdir(place)).sort()).toEqual(['__init__.py', 'bin', 'empty', 'lib', 'umlaut-ü.txt']);
    expect((await stat(join(place, 'bin/run'))).mode & 0o777).toBe(0o755);
    expect(await readFile(join(place, 'lib/l.py'), 'utf8')).toBe('1');
    expect(await real(root).changed(place)).toEqual([]);
  });

  it('sends credentials to their host only, and shows them nowhere', async () => {
    const seen: string[] = [];
    const archive = zipOf([{ name: '__init__.py', data: '1' }]);
    const other = await http((request) => {
      seen.push(String(request.headers.authorization ?? 'none'));
      return { body: archive };
    });
    const first: string[] = [];
    const url = await http((request) => {
      first.push(String(request.headers.authorization ?? 'none'));
      return request.url?.startsWith('/gone.zip') ? { status: 404 } : { status: 302, headers: { location: `${other}/x.zip` } };
    });
    const withCredentials = url.replace('http://', 'http://robot:s3cret-t0ken@');
    await real(root).archive({ url: `${withCredentials}/x.zip`, sha256: null }, place);
    expect(first).toEqual([`Basic ${Buffer.from('robot:s3cret-t0ken').toString('base64')}`]);
    expect(seen).toEqual(['none']);
    const gone = await real(root)
      .archive({ url: `${withCredentials}/gone.zip?token=s3cret-query`, sha256: null }, `${place}-2`)
      .catch((error: unknown) => error);
    expect(gone).toMatchObject({ code: 'SOURCE_NOT_FOUND' });
    const { message, details } = gone as { message: string; details: unknown };
    expect(JSON.stringify([message, details, logged])).not.toMatch(/s3cret/);
    expect(message).toMatch(/gone\.zip/);
  });

  it('tells what can be tried again from what cannot', async () => {
    const url = await http(() => ({ status: 503 }));
    const ask = real(root).registryVersion({ registryUrl: url, id: 'a', version: null });
    await expect(ask).rejects.toMatchObject({ code: 'SOURCE_UNREACHABLE', retryable: true });
    const html = await http(() => ({ body: '<html>' }));
    await expect(real(root).registryVersion({ registryUrl: html, id: 'a', version: null })).rejects.toMatchObject({
      code: 'SOURCE_UNREACHABLE',
    });
    const evil = await http(() => ({
      body: JSON.stringify({ version: '1.0.0', downloadUrl: 'file:///etc/passwd', status: 'NodeVersionStatusActive' }),
    }));
    await expect(real(root).registryVersion({ registryUrl: evil, id: 'a', version: '1.0.0' })).rejects.toMatchObject({
      code: 'SOURCE_REFUSED',
    });
  });

  it('fetches a cached archive anew when it was damaged', async () => {
    const body = zipOf([{ name: '__init__.py', data: '1' }]);
    const url = await http(() => ({ body }));
    const sha256 = createHash('sha256').update(body).digest('hex');
    await mkdir(join(root, 'cache'));
    await writeFile(join(root, 'cache', `${sha256}.zip`), 'damaged');
    expect(await real(root).archive({ url: `${url}/x.zip`, sha256 }, place)).toEqual({ sha256 });
  });

  it('copies no directory that leads out of itself or holds its own copy', async () => {
    const from = join(root, 'mine');
    await mkdir(from);
    await writeFile(join(from, 'run.sh'), '', { mode: 0o755 });
    await symlink('run.sh', join(from, 'link'));
    await real(root).directory(from, place);
    expect((await stat(join(place, 'run.sh'))).mode & 0o100).toBe(0o100);
    await expect(real(root).directory(root, `${place}-2`)).rejects.toMatchObject({ code: 'SOURCE_REFUSED' });
    await symlink('/etc', join(from, 'out'));
    await expect(real(root).directory(from, `${place}-2`)).rejects.toMatchObject({
      code: 'SOURCE_REFUSED',
      message: expect.stringMatching(/out/),
    });
    expect(await readdir(join(root, 'packs'))).toEqual(['pack']);
  });

  it.skipIf(process.getuid?.() !== 0)('with another user copies only what that one may read', async () => {
    const from = join(root, 'mine');
    await mkdir(join(from, 'nodes'), { recursive: true });
    await writeFile(join(from, 'run.sh'), 'x', { mode: 0o755 });
    await writeFile(join(from, 'nodes', 'own.txt'), 'x', { mode: 0o600 });
    await chown(join(from, 'nodes', 'own.txt'), 65_534, 0);
    for (const directory of [root, from, join(from, 'nodes')]) await chmod(directory, 0o755);
    const foreign = { name: 'nobody', uid: 65_534, gids: [65_534] };
    const copy = async (to: string) => real(root, { foreign }).directory(from, `${place}${to}`);
    expect(await copy('-1')).toEqual(await real(root).directory(from, `${place}-2`));
    await writeFile(join(from, 'nodes', 'closed.txt'), 'very-secret', { mode: 0o600 });
    await expect(copy('-3')).rejects.toMatchObject({
      code: 'SOURCE_REFUSED',
      message: expect.stringContaining('nobody, who runs ComfyUI, may not read nodes/closed.txt'),
    });
    await rm(join(from, 'nodes', 'closed.txt'));
    const told = real(root, { foreign, firstUnreadable: async (directory) => `${directory}/x` }).directory(from, `${place}-5`);
    await expect(told).rejects.toMatchObject({ code: 'SOURCE_REFUSED', message: expect.stringMatching(/may not read .*\/mine\/x$/) });
    for (const closed of [join(from, 'nodes'), from, root]) {
      await chmod(closed, closed === from ? 0o711 : 0o700);
      await expect(copy('-4')).rejects.toMatchObject({ code: 'SOURCE_REFUSED', message: expect.stringContaining('may not read') });
      await chmod(closed, 0o755);
    }
    expect((await readdir(join(root, 'packs'))).sort()).toEqual(['pack-1', 'pack-2']);
  });

  it('copies no file of more bytes than any pack has', async () => {
    const from = join(root, 'mine');
    await mkdir(from);
    await createShell({ path: '/usr/bin:/bin' }).run('truncate', ['-s', '100G', join(from, 'holes')]);
    await expect(real(root).directory(from, place)).rejects.toMatchObject({
      code: 'SOURCE_REFUSED',
      message: expect.stringContaining('holes it is larger than 8 GiB'),
    });
  });

  it('copies no pipe and does not wait for it', async () => {
    const from = join(root, 'mine');
    await mkdir(from);
    await createShell({ path: '/usr/bin:/bin' }).run('mkfifo', [join(from, 'pipe')]);
    await expect(real(root).directory(from, place)).rejects.toMatchObject({ message: expect.stringContaining('pipe is no file') });
  });

  it('leaves nothing when it is interrupted', async () => {
    const url = await http(() => ({ body: zipOf([{ name: 'a' }]) }));
    const call = real(root).archive({ url: `${url}/x.zip`, sha256: null }, place, { signal: AbortSignal.abort() });
    await expect(call).rejects.toMatchObject({ code: 'INTERRUPTED' });
    await expect(readdir(join(root, 'packs'))).rejects.toThrow();
  });
});
