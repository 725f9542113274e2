import { mkdir, mkdtemp, readFile, rm, stat, symlink, writeFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { createPythonEnvironments } from '../../../src/adapters/python/python.ts';
import { UV_PROGRAM, UV_VERSION, UV_WHEELS } from '../../../src/adapters/python/uv/wheel.ts';
import { requirementLine } from '../../../src/domain/installation/lock.ts';
import type { PythonEnvironments } from '../../../src/ports/python.ts';
import { CLOSED_INDEX, createPythonLab, execute, PLAIN } from '../../support/python/lab.ts';
import { makeWheel, zip } from '../../support/python/wheel.ts';

const lab = await createPythonLab();
const unreachable = await lab.unreachable();
if (unreachable !== null) console.log(`skipped: fetching the real uv: ${unreachable}`);
afterAll(lab.close);

describe('fetching uv', () => {
  const wheel = UV_WHEELS[process.arch]!;
  const pathWithoutUv = join(lab.cache, 'bin');
  let directory: string;
  /** An interpreter without pip, so that the agent downloads by itself. */
  let interpreter: string;
  beforeAll(async () => {
    directory = await mkdtemp(join(tmpdir(), 'agent-uv-'));
    interpreter = await createPythonEnvironments(lab.options()).create(join(directory, 'pipless'), {
      interpreter: 'python3',
      version: null,
      needsUv: false,
    });
  });
  afterAll(() => rm(directory, { recursive: true, force: true }));

  /** An index on loopback; what it serves decides the case. */
  const withIndex = async (
    serve: Record<string, { status?: number; headers?: Record<string, string>; body?: string | Buffer }>,
    check: (python: PythonEnvironments, base: string, folder: string) => Promise<void>,
  ) => {
    const seen: { url: string; authorization: string | undefined }[] = [];
    const server = createServer((request, response) => {
      seen.push({ url: request.url ?? '', authorization: request.headers.authorization });
      const answer = serve[request.url ?? ''] ?? { status: 404 };
      response.writeHead(answer.status ?? 200, answer.headers);
      response.end(answer.body);
    });
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    const folder = await mkdtemp(join(directory, 'case-'));
    try {
      const base = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
      await check(
        createPythonEnvironments(lab.options({ PATH: pathWithoutUv, UV_DEFAULT_INDEX: `${base}/simple` }, join(folder, 'cache'))),
        base,
        folder,
      );
    } finally {
      await new Promise((resolve) => server.close(resolve));
    }
    return seen;
  };
  const create = (python: PythonEnvironments, folder: string) =>
    python.create(join(folder, 'venv'), { interpreter, version: null, needsUv: true });
  const page = (name = wheel.name) => ({
    headers: { 'content-type': 'application/vnd.pypi.simple.v1+json' },
    body: JSON.stringify({ files: [{ filename: name, url: `/files/${name}`, hashes: { sha256: 'of no interest' } }] }),
  });

  it('a wheel with another digest is refused whatever the index says of it', async () => {
    const body = zip({ [UV_PROGRAM]: '#!/bin/sh\necho evil\n' });
    await withIndex({ '/simple/uv/': page(), [`/files/${wheel.name}`]: { body } }, async (python, _, folder) => {
      await expect(create(python, folder)).rejects.toMatchObject({ code: 'UV_UNAVAILABLE', message: expect.stringContaining('sha256') });
      await expect(stat(join(folder, `cache/uv/${UV_VERSION}/uv`))).rejects.toThrow();
    });
  });

  it('an index that does not know the wheel, or answers with an error, is named without its password', async () => {
    await withIndex({ '/simple/uv/': page('uv-0.0.1.whl') }, async (python, _, folder) => {
      await expect(create(python, folder)).rejects.toMatchObject({
        code: 'UV_UNAVAILABLE',
        message: expect.stringContaining(wheel.name),
        help: expect.stringContaining('python.findLinks'),
      });
    });
    await withIndex({}, async (_, base, folder) => {
      const secret = base.replace('http://', 'http://user:hunter2@');
      const python = createPythonEnvironments(
        lab.options({ PATH: pathWithoutUv, UV_DEFAULT_INDEX: `${secret}/simple` }, join(folder, 'cache')),
      );
      const error = await create(python, folder).catch((each: unknown) => each);
      expect(error).toMatchObject({ code: 'UV_UNAVAILABLE', message: expect.stringContaining('404') });
      expect(String((error as Error).message)).not.toContain('hunter2');
    });
  });

  it('nobody listens there', async () => {
    const python = createPythonEnvironments(lab.options({ PATH: pathWithoutUv, PIP_INDEX_URL: CLOSED_INDEX }, join(directory, 'closed')));
    await expect(create(python, directory)).rejects.toMatchObject({ code: 'UV_UNAVAILABLE', retryable: true });
  });

  describe.skipIf(unreachable !== null)('with the real wheel', () => {
    /** Fetched by pip, as a reference. */
    const wheelFile = async (): Promise<string> => {
      await execute('python3', ['-m', 'pip', 'download', '-q', '--no-deps', '--only-binary=:all:', '-d', directory, `uv==${UV_VERSION}`]);
      return join(directory, wheel.name);
    };

    it('comes from the index, with credentials for that index only, and is used from the cache afterwards', async () => {
      const body = await readFile(await wheelFile());
      const seen = await withIndex(
        { '/simple/uv/': page(), [`/files/${wheel.name}`]: { status: 302, headers: { location: '/moved' } }, '/moved': { body } },
        async (_, base, folder) => {
          const options = lab.options(
            { PATH: pathWithoutUv, UV_DEFAULT_INDEX: `${base.replace('http://', 'http://user:hunter2@')}/simple` },
            join(folder, 'cache'),
          );
          await create(createPythonEnvironments(options), folder);
          const { stdout } = await execute(join(folder, `cache/uv/${UV_VERSION}/uv`), ['--version']);
          expect(stdout).toContain(UV_VERSION);
          await create(createPythonEnvironments(options), folder);
        },
      );
      expect(seen.filter(({ url }) => url === '/moved')).toHaveLength(1);
      expect(seen.filter(({ url }) => url === '/simple/uv/')).toHaveLength(1);
      expect(seen[0]?.authorization).toBe(`Basic ${Buffer.from('user:hunter2').toString('base64')}`);
    });

    it('an interruption ends uv while it waits for an index', async () => {
      const stop = new AbortController();
      let asked = 0;
      const server = createServer(() => {
        asked += 1;
        stop.abort();
      });
      await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
      try {
        const folder = await mkdtemp(join(directory, 'hanging-'));
        await writeFile(join(folder, 'requirements.txt'), 'six\n');
        const python = createPythonEnvironments(lab.options());
        const environment = await python.create(join(folder, 'venv'), { interpreter: 'python3', version: null, needsUv: true });
        const indexUrl = `http://127.0.0.1:${(server.address() as AddressInfo).port}/simple`;
        const work = python.resolve({
          ...PLAIN,
          indexUrl,
          python: environment,
          requirements: [{ label: 'a', file: join(folder, 'requirements.txt'), within: folder }],
          signal: stop.signal,
        });
        await expect(work).rejects.toMatchObject({ code: 'INTERRUPTED' });
        expect(asked).toBeGreaterThan(0);
      } finally {
        server.closeAllConnections();
        await new Promise((resolve) => server.close(resolve));
      }
    });

    it('comes from find-links where there is no network', async () => {
      const folder = await mkdtemp(join(directory, 'offline-'));
      const wheels = join(folder, 'wheels');
      await mkdir(wheels);
      await symlink(await wheelFile(), join(wheels, wheel.name));
      await mkdir(join(folder, 'pack'));
      await makeWheel(wheels, { name: 'comfy-tiny', version: '1.0' });
      await writeFile(join(folder, 'pack/requirements.txt'), 'comfy-tiny\n');
      const python = createPythonEnvironments(lab.options({ PATH: pathWithoutUv, UV_OFFLINE: '1' }, join(folder, 'cache')));
      const environment = await python.create(join(folder, 'venv'), { interpreter, version: null, needsUv: false });
      const pins = await python.resolve({
        ...PLAIN,
        indexUrl: CLOSED_INDEX,
        findLinks: [wheels],
        python: environment,
        requirements: [{ label: 'pack', file: join(folder, 'pack/requirements.txt'), within: folder }],
      });
      expect(pins.map(requirementLine)).toEqual(['comfy-tiny==1.0']);
    });
  });
});
