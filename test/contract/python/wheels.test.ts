import { createHash } from 'node:crypto';
import { copyFile, mkdir, readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { createPythonEnvironments } from '../../../src/adapters/python/python.ts';
import type { LockedPackage } from '../../../src/domain/installation/lock.ts';
import type { LocalWheels, PythonEnvironments } from '../../../src/ports/python.ts';
import { CLOSED_INDEX, createPythonLab, makeRepository, PLAIN, type PythonLab } from '../../support/python/lab.ts';
import { makeWheel } from '../../support/python/wheel.ts';

/** Wheels for a bundle, by the real pip and uv, from a directory and a repository beside the test. */

let lab: PythonLab;
let python: PythonEnvironments;
let environment: string;
let source: string;
let wheel: string;
let skipped: string | null = null;
const digestOf = async (file: string): Promise<string> =>
  createHash('sha256')
    .update(await readFile(file))
    .digest('hex');
beforeAll(async () => {
  lab = await createPythonLab();
  // Unlike in the suites about closed indexes, a connection that is lost is tried again, as users have it.
  python = createPythonEnvironments(lab.options({ ...lab.options().environment, UV_HTTP_RETRIES: '3' }));
  source = join(lab.cache, 'source');
  wheel = await makeWheel(source, { name: 'tiny-lib', version: '1.0' });
  try {
    environment = await python.create(join(lab.cache, 'venv'), { interpreter: 'python3', version: null, needsUv: true });
  } catch (error) {
    skipped = `no uv: ${(error as Error).message}`;
  }
}, 120_000);
afterAll(() => lab.close());

const locked = (change: Partial<LockedPackage>): LockedPackage => ({
  name: 'tiny-lib',
  version: '1.0',
  url: null,
  hashes: [],
  addedBy: null,
  ...change,
});
const collect = async (directory: string, pins: readonly LockedPackage[]): Promise<ReadonlyMap<string, string>> => {
  await mkdir(directory, { recursive: true });
  return python.collectWheels({ ...PLAIN, findLinks: [source], python: environment, pins, directory });
};

describe('wheels of locked packages', () => {
  it('are collected with their digests verified; what has none is built', async ({ skip }) => {
    if (skipped !== null) return skip(skipped);
    const directory = join(lab.cache, 'collected');
    const repository = await makeRepository(join(lab.cache, 'vcs'));
    const pins = [
      locked({ hashes: [`sha256:${await digestOf(wheel)}`] }),
      locked({ name: 'comfy-vcs', version: null, url: `git+file://${repository}` }),
    ];
    const found = await collect(directory, pins);
    expect([...found]).toEqual([
      ['tiny-lib', 'tiny_lib-1.0-py3-none-any.whl'],
      ['comfy-vcs', 'comfy_vcs-0.1-py3-none-any.whl'],
    ]);
    expect((await readdir(directory)).sort()).toEqual([...found.values()].sort());
    expect(await readFile(join(directory, 'tiny_lib-1.0-py3-none-any.whl'))).toEqual(await readFile(wheel));

    // And they are all that is needed to install: the index answers nobody.
    const wheels: LocalWheels = {
      directory,
      packages: new Map(
        await Promise.all(
          [...found].map(
            async ([name, file]) => [name, { version: file.split('-')[1] ?? '', sha256: await digestOf(join(directory, file)) }] as const,
          ),
        ),
      ),
    };
    const request = { ...PLAIN, indexUrl: CLOSED_INDEX, python: environment, pins, wheels };
    expect(await python.install(request)).toEqual([]);
    expect(await python.packages(environment)).toMatchObject({ 'tiny-lib': '1.0', 'comfy-vcs': '0.1' });
  });

  it('come from an index, one for this machine out of many', async ({ skip }) => {
    const unreachable = skipped ?? (await lab.unreachable());
    if (unreachable !== null) return skip(unreachable);
    const [file, directory] = [join(lab.cache, 'indexed.txt'), join(lab.cache, 'indexed')];
    await writeFile(file, 'markupsafe==2.1.5\nsix==1.16.0\n');
    const pins = await python.resolve({ ...PLAIN, python: environment, requirements: [{ label: 'indexed', file, within: lab.cache }] });
    const found = await collect(directory, pins);
    expect([...found.keys()].sort()).toEqual(['markupsafe', 'six']);
    for (const pin of pins) expect(pin.hashes).toContain(`sha256:${await digestOf(join(directory, found.get(pin.name) ?? ''))}`);
  }, 120_000);

  it('that are not the locked ones are refused', async ({ skip }) => {
    if (skipped !== null) return skip(skipped);
    const failure = collect(join(lab.cache, 'other'), [locked({ hashes: [`sha256:${'0'.repeat(64)}`] })]);
    await expect(failure).rejects.toMatchObject({ code: 'HASH_MISMATCH' });
  });

  it('that changed on the way are not installed', async ({ skip }) => {
    if (skipped !== null) return skip(skipped);
    const directory = join(lab.cache, 'changed');
    await mkdir(directory);
    await copyFile(wheel, join(directory, 'tiny_lib-1.0-py3-none-any.whl'));
    const wheels: LocalWheels = { directory, packages: new Map([['tiny-lib', { version: '1.0', sha256: '0'.repeat(64) }]]) };
    const fresh = await python.create(join(lab.cache, 'changed-venv'), { interpreter: 'python3', version: null, needsUv: true });
    const failure = python.install({ ...PLAIN, python: fresh, pins: [locked({})], wheels });
    await expect(failure).rejects.toMatchObject({ code: expect.stringMatching(/^(HASH_MISMATCH|ENVIRONMENT_FAILED)$/) });
    expect(await python.packages(fresh)).toEqual({});
  });

  it('of uv is taken only when it is the pinned one', async ({ skip }) => {
    if (skipped !== null) return skip(skipped);
    const fresh = createPythonEnvironments(lab.options({ PATH: '/usr/bin:/bin' }, join(lab.cache, 'fresh')));
    await writeFile(join(lab.cache, 'uv.whl'), 'not uv');
    await expect(fresh.placeUv(join(lab.cache, 'uv.whl'))).rejects.toMatchObject({ code: 'UV_UNAVAILABLE' });
    const directory = join(lab.cache, 'uv-wheel');
    await mkdir(directory);
    const name = await python.collectUv({ ...PLAIN, python: environment, directory });
    await fresh.placeUv(join(directory, name));
    expect(await fresh.create(join(lab.cache, 'fresh-venv'), { interpreter: 'python3', version: null, needsUv: true })).toMatch(
      /bin\/python$/,
    );
  });
});
