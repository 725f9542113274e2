import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { createFiles } from '../../../src/adapters/files/files.ts';
import { createPythonEnvironments } from '../../../src/adapters/python/python.ts';
import { type LockedPackage, requirementLine, toLockedPackage } from '../../../src/domain/installation/lock.ts';
import type { PythonEnvironments, ResolveRequest } from '../../../src/ports/python.ts';
import { createFakePython } from '../../fakes/python.ts';
import { CLOSED_INDEX, createPythonLab, makeRepository, PLAIN, pushTo } from '../../support/python/lab.ts';
import { makeWheel } from '../../support/python/wheel.ts';

const lab = await createPythonLab();
const unreachable = await lab.unreachable();
if (unreachable !== null) console.log(`skipped: Python environments with the real uv: ${unreachable}`);
afterAll(lab.close);

interface World {
  readonly python: PythonEnvironments;
  readonly wheels: string;
  readonly repository: string;
  /** A new commit in it. */
  readonly push: () => Promise<void>;
}

const worlds: readonly { readonly name: string; readonly skip: boolean; readonly make: (directory: string) => Promise<World> }[] = [
  {
    name: 'fake',
    skip: false,
    make: async (directory) => {
      const wheels = join(directory, 'wheels');
      const python = createFakePython({
        interpreters: { python3: '3.11.7', 'python2.7': '2.7.18' },
        index: { six: ['1.15.0', '1.16.0', '1.17.0'], idna: ['3.10'], packaging: ['24.0', '25.0'] },
        findLinks: { [wheels]: { 'comfy-tiny': ['1.0', '2.0+stub'] } },
        readText: (file) => readFile(file, 'utf8').catch(() => null),
      });
      return { python, wheels, repository: 'git+file:///repositories/tiny', push: async () => python.push() };
    },
  },
  {
    name: 'uv',
    skip: unreachable !== null,
    make: async (directory) => {
      const wheels = join(directory, 'wheels');
      await makeWheel(wheels, { name: 'comfy-tiny', version: '1.0' });
      await makeWheel(wheels, { name: 'comfy-tiny', version: '2.0+stub' });
      const repository = await makeRepository(join(directory, 'tiny'));
      return {
        python: createPythonEnvironments(lab.options()),
        wheels,
        repository: `git+file://${repository}`,
        push: () => pushTo(repository),
      };
    },
  },
];

describe.each(worlds)('Python environments: $name', ({ skip, make }) => {
  describe.skipIf(skip)('contract', () => {
    let directory: string;
    let world: World;
    let environment: string;
    let files = 0;

    beforeAll(async () => {
      directory = await mkdtemp(join(tmpdir(), 'agent-python-'));
      world = await make(directory);
      environment = await world.python.create(join(directory, 'venv'), { interpreter: 'python3', version: null, needsUv: true });
    });
    afterAll(() => rm(directory, { recursive: true, force: true }));

    const pack = async (label: string, text: string, more: Record<string, string> = {}) => {
      const folder = join(directory, `${label}-${files++}`);
      await mkdir(folder);
      for (const [name, content] of Object.entries({ 'requirements.txt': text, ...more })) await writeFile(join(folder, name), content);
      return { label, file: join(folder, 'requirements.txt'), within: folder };
    };
    /** What the operator asks for may lie anywhere. */
    const operators = async (...args: Parameters<typeof pack>) => ({ ...(await pack(...args)), trusted: true });
    const resolve = (requirements: ResolveRequest['requirements'], changes: Partial<ResolveRequest> = {}) =>
      world.python.resolve({ ...PLAIN, python: environment, requirements, ...changes });
    const lines = async (...args: Parameters<typeof resolve>) => (await resolve(...args)).map(requirementLine);
    const pinned = (line: string) => toLockedPackage(line)!;
    const failing = (work: Promise<unknown>) => expect(work.then(() => 'no error')).rejects;

    it('makes an environment of a known version at the place asked for', async () => {
      expect(environment).toBe(join(directory, 'venv/bin/python'));
      expect(await world.python.interpreterVersion('python3')).toMatch(/^3\.\d+\.\d+$/);
      expect(await world.python.interpreterVersion(environment)).toBe(await world.python.interpreterVersion('python3'));
      expect(await world.python.packages(environment)).toEqual({});
    });

    it('a missing interpreter is named', async () => {
      await failing(world.python.interpreterVersion('python-that-is-not-there')).toMatchObject({
        code: 'PYTHON_MISSING',
        message: expect.stringContaining('python-that-is-not-there'),
      });
      await failing(
        world.python.create(join(directory, 'none'), { interpreter: 'python-that-is-not-there', version: null, needsUv: true }),
      ).toMatchObject({ code: 'PYTHON_MISSING' });
    });

    it('resolves all files together, included ones too, to exact pins', async () => {
      const pins = await lines([
        await pack('a', '# comment\nsix==1.16.0\n-r more.txt\n', { 'more.txt': 'packaging>=24 # why\n' }),
        await pack('b', 'Six>=1.15\nidna\n'),
      ]);
      expect(pins).toContain('six==1.16.0');
      expect(pins.map((pin) => pin.split('==')[0])).toEqual(['idna', 'packaging', 'six']);
    });

    it('a conflict names the packs that ask, and only those', async () => {
      const packs = [await pack('first', 'six==1.16.0\n'), await pack('bystander', 'idna\n'), await pack('second', 'six==1.15.0\n')];
      await failing(resolve(packs)).toMatchObject({
        code: 'REQUIREMENTS_UNRESOLVED',
        message: expect.stringMatching(/first.*second.*/),
        details: { labels: ['first', 'second'], explanation: expect.stringContaining('six') },
      });
    });

    it('a package that does not exist, an include that is missing and a bad line blame their pack', async () => {
      const good = await pack('good', 'six\n');
      for (const text of ['comfylet-no-such-package\n', '-r gone.txt\n', 'six == not a version\n']) {
        const error = await resolve([good, await pack('bad', text)]).catch((each: unknown) => each);
        expect(error).toMatchObject({ code: 'REQUIREMENTS_UNRESOLVED', details: { labels: ['bad'] } });
        expect((error as Error).message).not.toContain(directory);
      }
    });

    it('files, directories and repositories outside of the pack blame it, and are not looked at; those of the operator count', async () => {
      const good = await pack('good', 'six\n');
      await mkdir(join(directory, 'closed'), { recursive: true });
      await writeFile(join(directory, 'closed/setup.py'), 'raise SystemExit("very-secret")\n');
      const place = join(directory, 'closed');
      for (const line of [
        `-e ${place}`,
        `x @ file://${place}`,
        `file://${place}`,
        `x @ ${place}`,
        'x @ ../closed',
        `x @ git+file://${place}`,
      ]) {
        const error = await resolve([good, await pack('bad', `idna\n${line}\n`)]).catch((each: unknown) => each);
        expect(error, line).toMatchObject({
          code: 'REQUIREMENTS_UNRESOLVED',
          message: expect.stringContaining('leads out of its directory'),
          details: { labels: ['bad'] },
        });
      }
      const error = await resolve([good, await pack('bad', 'x @ file://elsewhere/x.whl\n')]).catch((each: unknown) => each);
      expect(error).toMatchObject({ message: expect.stringContaining('it cannot be told which place it names') });
    });

    it('includes that lead out of the pack blame it, together with all that do, and nothing of them is quoted', async () => {
      await writeFile(join(directory, 'secret.env'), 'TOKEN=very-secret\n');
      const good = await pack('good', 'six\n');
      for (const line of ['-r ../secret.env', '-c ../secret.env', '-r/proc/self/environ', '--requirement=/etc/passwd', '-r ../none']) {
        const error = await resolve([good, await pack('bad', `idna\n${line}\n`), await pack('sly', `-r ../secret.env\n`)]).catch(
          (each: unknown) => each as Error & { readonly details: { readonly labels: readonly string[] } },
        );
        expect(error).toMatchObject({ code: 'REQUIREMENTS_UNRESOLVED', message: expect.stringContaining('leads out of its directory') });
        expect(error).toMatchObject({ details: { labels: expect.arrayContaining([expect.stringMatching(/^(?:bad|sly)$/)]) } });
        expect(JSON.stringify([(error as Error).message, (error as { details: unknown }).details])).not.toMatch(/very-secret|root:|PATH=/);
      }
    });

    it('constraints narrow, overrides win over everybody', async () => {
      const packs = [await pack('a', 'six==1.16.0\n'), await pack('b', 'six==1.15.0\n')];
      expect(await lines([packs[0]!], { constraints: ['idna==3.10'] })).toEqual(['six==1.16.0']);
      await failing(resolve([packs[0]!], { constraints: ['six<1.16'] })).toMatchObject({
        code: 'REQUIREMENTS_UNRESOLVED',
        details: { labels: ['a'] },
      });
      expect(await lines(packs, { overrides: ['six==1.17.0'] })).toEqual(['six==1.17.0']);
    });

    it('finds wheels in a directory, local versions too', async () => {
      const tiny = await pack('a', 'comfy-tiny\n');
      expect(await lines([tiny], { findLinks: [world.wheels] })).toEqual(['comfy-tiny==2.0+stub']);
      expect(await lines([tiny], { findLinks: [world.wheels], constraints: ['comfy-tiny==1.0'] })).toEqual(['comfy-tiny==1.0']);
      await failing(resolve([tiny])).toMatchObject({ code: 'REQUIREMENTS_UNRESOLVED' });
    });

    it('installs exactly the pins and tells what is there', async () => {
      const target = await world.python.create(join(directory, 'installed'), { interpreter: 'python3', version: null, needsUv: true });
      const git = await operators('git', `comfy-vcs @ ${world.repository}\n`);
      const [vcs] = await resolve([git]);
      expect(requirementLine(vcs!)).toMatch(/^comfy-vcs @ git\+.*@[0-9a-f]{40}$/);
      const pins = [pinned('six==1.16.0'), pinned('comfy-tiny==2.0+stub'), vcs!];
      expect(await world.python.install({ ...PLAIN, python: target, pins, findLinks: [world.wheels] })).toEqual([]);
      expect(await world.python.packages(target)).toEqual({ six: '1.16.0', 'comfy-tiny': '2.0+stub', 'comfy-vcs': '0.1' });
    });

    it('everything is known exactly: packages by digest, repositories by commit', async () => {
      const asked = await operators('a', `six==1.16.0\ncomfy-tiny==1.0\ncomfy-vcs @ ${world.repository}\nidna ; sys_platform == 'win32'\n`);
      const digest = expect.stringMatching(/^sha256:[0-9a-f]{64}$/) as string;
      const found = await resolve([asked], { findLinks: [world.wheels] });
      expect(found.slice(0, 2)).toEqual([
        { name: 'comfy-tiny', version: '1.0', url: null, hashes: [digest], addedBy: null },
        {
          name: 'comfy-vcs',
          version: null,
          url: expect.stringMatching(/@[0-9a-f]{40}$/) as string,
          requestedUrl: world.repository,
          hashes: [],
          addedBy: null,
        },
      ]);
      const six = found.find(({ name }) => name === 'six');
      expect(six?.hashes.length).toBeGreaterThan(0);
      expect(six?.hashes.every((hash) => /^sha256:[0-9a-f]{64}$/.test(hash))).toBe(true);
    });

    it('an earlier resolution is kept where it fits, and only there', async () => {
      const before = [pinned('six==1.15.0'), pinned('packaging==24.0'), pinned('idna==2.0')];
      const both = await pack('a', 'six>=1.15\npackaging>=25\n');
      expect(await lines([both], { preferences: before })).toEqual(expect.arrayContaining(['six==1.15.0']));
      expect(await lines([both], { preferences: before })).not.toContain('packaging==24.0');
      expect(await lines([both])).not.toContain('six==1.15.0');
    });

    it('a repository keeps its commit while the same is asked for', async () => {
      const asked = await operators('a', `comfy-vcs @ ${world.repository}\n`);
      const [before] = await resolve([asked]);
      await world.push();
      expect(await resolve([asked], { preferences: [before!] })).toEqual([before]);
      const now = await resolve([asked]);
      expect(now[0]?.url).not.toBe(before?.url);
      // It was found for something else, or is overridden.
      expect(await resolve([asked], { preferences: [{ ...before!, requestedUrl: `${world.repository}@another` }] })).toEqual(now);
      const elsewhere = now[0]?.url ?? '';
      const overridden = await resolve([asked], { preferences: [before!], overrides: [`comfy-vcs @ ${elsewhere}`] });
      expect(overridden[0]?.url).toBe(elsewhere);
    });

    it('another file under a locked name is refused, with both digests', async () => {
      const target = await world.python.create(join(directory, 'forged'), { interpreter: 'python3', version: null, needsUv: true });
      const wrong = `sha256:${'0'.repeat(64)}`;
      const [tiny] = await resolve([await pack('a', 'comfy-tiny==1.0\n')], { findLinks: [world.wheels] });
      const install = (hashes: readonly string[]) =>
        world.python.install({ ...PLAIN, python: target, pins: [{ ...tiny!, hashes: [...hashes] }], findLinks: [world.wheels] });
      const error = await install([wrong]).catch((each: unknown) => each);
      expect(error).toMatchObject({ code: 'HASH_MISMATCH', message: expect.stringContaining('comfy-tiny==1.0') as string });
      expect((error as Error).message).toContain(wrong);
      expect((error as Error).message).toContain(tiny!.hashes[0]!);
      expect(await world.python.packages(target)).toEqual({});
      expect(await install(tiny!.hashes)).toEqual([]);
    });

    it('a package is taken out, and its origin is told while it is there', async () => {
      const target = await world.python.create(join(directory, 'removing'), { interpreter: 'python3', version: null, needsUv: true });
      await world.python.install({ ...PLAIN, python: target, pins: [pinned('comfy-tiny==1.0')], findLinks: [world.wheels] });
      expect(await world.python.origin(target, 'Comfy_Tiny')).toEqual(pinned('comfy-tiny==1.0'));
      await world.python.remove(target, ['comfy-tiny', 'not-there']);
      expect(await world.python.packages(target)).toEqual({});
      expect(await world.python.origin(target, 'comfy-tiny')).toBeNull();
    });

    it('dependencies of a pyproject.toml are asked for like lines', async () => {
      const folder = await pack('project', '', {
        'pyproject.toml': '[project]\nname = "p"\ndependencies = [\n  "six==1.15.0", # old\n]\n',
      });
      const project = { ...folder, file: folder.file.replace('requirements.txt', 'pyproject.toml') };
      expect(await lines([project])).toEqual(['six==1.15.0']);
      await failing(resolve([project, await pack('other', '\nsix==1.16.0\n')])).toMatchObject({
        details: {
          labels: ['project', 'other'],
          asked: [
            { pack: 'project', line: 'six==1.15.0', file: 'pyproject.toml', lineNumber: 4 },
            { pack: 'other', line: 'six==1.16.0', file: 'requirements.txt', lineNumber: 2 },
          ],
        },
      });
    });

    it('a repository that is not there blames its pack', async () => {
      await failing(
        resolve([await pack('good', 'six\n'), await operators('bad', 'comfy-vcs @ git+file:///nowhere/missing\n')]),
      ).toMatchObject({
        code: 'REQUIREMENTS_UNRESOLVED',
        details: { labels: ['bad'] },
      });
    });

    it('pins that do not exist fail the environment', async () => {
      await failing(world.python.install({ ...PLAIN, python: environment, pins: [pinned('six==99.99')] })).toMatchObject({
        code: 'ENVIRONMENT_FAILED',
      });
    });

    it('an index that does not answer can be tried again and blames nobody', async () => {
      const work = resolve([await pack('a', 'idna>=2.7\n')], { indexUrl: CLOSED_INDEX });
      await failing(work).toMatchObject({
        code: 'ENVIRONMENT_FAILED',
        retryable: true,
        message: expect.stringContaining('Connection refused'),
      });
    });

    it('an interruption is told as one', async () => {
      const stop = new AbortController();
      stop.abort();
      await failing(resolve([await pack('a', 'six\n')], { signal: stop.signal })).toMatchObject({ code: 'INTERRUPTED' });
    });
  });
});

describe.skipIf(unreachable !== null)('what only the real uv does', () => {
  let directory: string;
  beforeAll(async () => {
    directory = await mkdtemp(join(tmpdir(), 'agent-python-real-'));
  });
  afterAll(() => rm(directory, { recursive: true, force: true }));

  it('a wheel named by its URL has its digest, and what is built is built within the constraints', async () => {
    const wheels = join(directory, 'wheels');
    for (const version of ['1.0', '2.0']) await makeWheel(wheels, { name: 'comfy-tiny', version });
    const direct = await makeWheel(join(directory, 'direct'), { name: 'comfy-direct', version: '3.0' });
    const repository = await makeRepository(join(directory, 'built'), 'comfy-tiny');
    const python = createPythonEnvironments(lab.options());
    const environment = await python.create(join(directory, 'venv'), { interpreter: 'python3', version: null, needsUv: true });
    const file = join(directory, 'requirements.txt');
    await writeFile(file, `comfy-direct @ file://${direct}\ncomfy-vcs @ git+file://${repository}\n`);
    const request = { ...PLAIN, python: environment, findLinks: [wheels], constraints: ['comfy-tiny==1.0'] };
    const pins = await python.resolve({ ...request, requirements: [{ label: 'a', file, within: directory }] });
    expect(pins).toMatchObject([
      { name: 'comfy-direct', url: `file://${direct}`, hashes: [`sha256:${await createFiles().digest(direct)}`] },
      { name: 'comfy-vcs', hashes: [] },
    ]);
    expect(await python.install({ ...request, pins })).toEqual([]);
    // The backend of the repository takes its version from the package it was built with.
    expect(await python.packages(environment)).toEqual({ 'comfy-direct': '3.0', 'comfy-vcs': '1.0' });
    expect(await python.origin(environment, 'comfy-vcs')).toEqual({ ...pins[1], requestedUrl: undefined });
    expect(await python.origin(environment, 'comfy-direct')).toMatchObject({ url: `file://${direct}` });
  });

  it("paths are the pack's, editable ones are copies, and a pack names no index for the others", async () => {
    const folder = join(directory, 'local');
    const repository = await makeRepository(join(folder, 'sub'));
    await makeWheel(join(folder, 'wheels'), { name: 'comfy-beside', version: '1.0' });
    await writeFile(
      join(folder, 'requirements.txt'),
      `--extra-index-url ${CLOSED_INDEX}\n-r sub/more.txt\nsub/../wheels/comfy_beside-1.0-py3-none-any.whl ; python_version > "3"\n`,
    );
    await writeFile(join(repository, 'more.txt'), '-e ./sub\n');
    const python = createPythonEnvironments(lab.options());
    const environment = await python.create(join(directory, 'local-venv'), { interpreter: 'python3', version: null, needsUv: true });
    const request = { ...PLAIN, python: environment };
    const requirements = [{ label: 'a', file: join(folder, 'requirements.txt'), within: folder }];
    const pins = await python.resolve({ ...request, requirements });
    expect(pins.map(requirementLine)).toEqual([
      `comfy-beside @ file://${folder}/wheels/comfy_beside-1.0-py3-none-any.whl`,
      `comfy-vcs @ file://${repository}`,
    ]);
    await python.install({ ...request, pins });
    expect(await python.packages(environment)).toEqual({ 'comfy-beside': '1.0', 'comfy-vcs': '0.1' });

    await writeFile(join(folder, 'requirements.txt'), '\n./gone\n');
    const other = join(directory, 'other.txt');
    await writeFile(other, 'six\n');
    await expect(
      python.resolve({ ...request, requirements: [{ label: 'b', file: other, within: directory }, ...requirements] }),
    ).rejects.toMatchObject({
      code: 'REQUIREMENTS_UNRESOLVED',
      details: { labels: ['a'], asked: [{ pack: 'a', line: './gone', file: 'requirements.txt', lineNumber: 2 }] },
    });
  });

  it('a commit that is gone is no reason to fail', async () => {
    const repository = `git+file://${await makeRepository(join(directory, 'moved'))}`;
    const file = join(directory, 'moved.txt');
    await writeFile(file, `comfy-vcs @ ${repository}\n`);
    const python = createPythonEnvironments(lab.options());
    const environment = await python.create(join(directory, 'moved-venv'), { interpreter: 'python3', version: null, needsUv: true });
    const gone: LockedPackage = {
      name: 'comfy-vcs',
      version: null,
      url: `${repository}@${'1'.repeat(40)}`,
      requestedUrl: repository,
      hashes: [],
      addedBy: null,
    };
    const [found] = await python.resolve({
      ...PLAIN,
      python: environment,
      preferences: [gone],
      requirements: [{ label: 'a', file, within: directory }],
    });
    expect(found?.url).toMatch(/@[0-9a-f]{40}$/);
    expect(found?.url).not.toBe(gone.url);
  });

  it('a bad line of a pyproject.toml blames its pack and names the place', async () => {
    const folder = join(directory, 'project');
    await mkdir(folder);
    await writeFile(join(folder, 'pyproject.toml'), '[project]\ndependencies = [\n  "six == not a version",\n]\n');
    const python = createPythonEnvironments(lab.options());
    const environment = await python.create(join(directory, 'project-venv'), { interpreter: 'python3', version: null, needsUv: true });
    const requirements = [{ label: 'a', file: join(folder, 'pyproject.toml'), within: folder }];
    const error = await python.resolve({ ...PLAIN, python: environment, requirements }).catch((each: unknown) => each);
    expect(error).toMatchObject({
      code: 'REQUIREMENTS_UNRESOLVED',
      details: { labels: ['a'], asked: [{ pack: 'a', line: 'six == not a version', file: 'pyproject.toml', lineNumber: 3 }] },
    });
    expect((error as Error).message).not.toContain(lab.cache);
  });
});
