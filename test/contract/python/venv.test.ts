import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { createFiles } from '../../../src/adapters/files/files.ts';
import { createPythonEnvironments } from '../../../src/adapters/python/python.ts';
import { createByHand, probeInterpreter } from '../../../src/adapters/python/venv.ts';
import { createShell } from '../../../src/adapters/shell/shell.ts';
import { createPythonLab, execute, pathOfTests } from '../../support/python/lab.ts';

const lab = await createPythonLab();
afterAll(lab.close);

describe('environments without uv', () => {
  const python = createPythonEnvironments(lab.options({ PATH: pathOfTests }, '/nonexistent/cache'));
  let directory: string;
  beforeAll(async () => {
    directory = await mkdtemp(join(tmpdir(), 'agent-python-'));
  });
  afterAll(() => rm(directory, { recursive: true, force: true }));

  it('no requirements need no uv, no network and no cache', async () => {
    const environment = await python.create(join(directory, 'venv'), { interpreter: 'python3', version: null, needsUv: false });
    const { stdout } = await execute(environment, ['-c', 'import sys; print(sys.prefix)']);
    expect(stdout.trim()).toBe(join(directory, 'venv'));
    expect(await python.packages(environment)).toEqual({});
    // Again over what is there: a cut installation is repeated.
    expect(await python.create(join(directory, 'venv'), { interpreter: 'python3', version: null, needsUv: false })).toBe(environment);
  });

  it('where the venv module is missing the environment is made by hand', async () => {
    const context = { shell: createShell({ path: pathOfTests }), files: createFiles(), environment: { PATH: pathOfTests } };
    const found = await probeInterpreter(context, 'python3');
    const environment = await createByHand(context, join(directory, 'by-hand'), found!);
    const { stdout } = await execute(environment, ['-c', "import sys, site; print(sys.prefix); print('\\n'.join(site.getsitepackages()))"]);
    expect(stdout).toContain(`${join(directory, 'by-hand')}\n`);
    expect(stdout).toMatch(/by-hand\/lib\/python3\.\d+\/site-packages/);
  });

  it('an interpreter that is too old is refused with its version', async () => {
    const old = join(directory, 'python-old');
    await writeFile(old, '#!/bin/sh\nprintf "3.8.18\\n/usr/bin/python-old\\n"\n', { mode: 0o755 });
    await expect(python.interpreterVersion(old)).rejects.toMatchObject({
      code: 'PYTHON_MISSING',
      message: expect.stringContaining('3.8.18'),
    });
    const broken = join(directory, 'python-broken');
    await writeFile(broken, '#!/bin/sh\nexit 127\n', { mode: 0o755 });
    await expect(python.interpreterVersion(broken)).rejects.toMatchObject({
      code: 'PYTHON_MISSING',
      message: expect.stringContaining(broken),
    });
  });

  it('packages are read without starting a Python, within 100 ms for many', async () => {
    const environment = await python.create(join(directory, 'many'), { interpreter: 'python3', version: null, needsUv: false });
    const version = (await python.interpreterVersion('python3')).split('.').slice(0, 2).join('.');
    const site = join(directory, `many/lib/python${version}/site-packages`);
    const names = Array.from({ length: 300 }, (_, i) => `Some_Package_${i}-1.${i}.dist-info`);
    for (const name of [...names, '~alf_removed-1.0.dist-info', 'old_style-2.0-py3.11.egg-info']) await mkdir(join(site, name));
    const startedAt = performance.now();
    const packages = await python.packages(environment);
    expect(performance.now() - startedAt).toBeLessThan(100);
    expect(Object.keys(packages)).toHaveLength(301);
    expect(packages['some-package-7']).toBe('1.7');
    expect(packages['old-style']).toBe('2.0');
  });
});
