import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { createFiles } from '../../../src/adapters/files/files.ts';
import { createClock } from '../../../src/adapters/host/clock.ts';
import { createPythonEnvironments } from '../../../src/adapters/python/python.ts';
import type { ConfigInput } from '../../../src/domain/configuration/config.ts';
import { hashedLine, type LockedPackage, toLockedPackage } from '../../../src/domain/installation/lock.ts';
import type { InstallContext } from '../../../src/engine/installation/context.ts';
import { containChanges } from '../../../src/engine/installation/environment/containment.ts';
import { createEnvironment, installEnvironment, resolveEnvironment } from '../../../src/engine/installation/environment/environment.ts';
import { InstallTracker } from '../../../src/engine/installation/progress.ts';
import { layoutOf } from '../../../src/plan/configuration/layout.ts';
import { NO_MOVES, pinsOf } from '../../../src/plan/installation/lock.ts';
import { installationSpec } from '../../../src/plan/resolve.ts';
import type { Ports } from '../../../src/ports.ts';
import { aConfig } from '../../support/machine/builders.ts';
import { createPythonLab, pathOfTests } from '../../support/python/lab.ts';
import { makeWheel } from '../../support/python/wheel.ts';

/** The resolution of a whole installation with the real uv, from wheels beside the test and without a network. */

const lab = await createPythonLab();
const unreachable = await lab.unreachable();
if (unreachable !== null) console.log(`skipped: resolutions with the real uv: ${unreachable}`);
afterAll(lab.close);

describe.skipIf(unreachable !== null)('one resolution over ComfyUI and its packs', () => {
  let directory: string;
  let wheels: string;
  let cases = 0;
  beforeAll(async () => {
    directory = await mkdtemp(join(tmpdir(), 'agent-resolution-'));
    wheels = join(directory, 'wheels');
    for (const version of ['1.0', '2.0']) {
      await makeWheel(wheels, { name: 'torch', version });
      await makeWheel(wheels, { name: 'tiny-lib', version });
    }
    await makeWheel(wheels, { name: 'torch-user', version: '1.0', requires: ['torch<2'] });
    for (const name of ['requests', 'pip', 'common']) await makeWheel(wheels, { name, version: '1.0' });
  });
  afterAll(() => rm(directory, { recursive: true, force: true }));

  const aCase = async (packs: Readonly<Record<string, string>>, config: ConfigInput = {}) => {
    const root = join(directory, `case-${cases++}`);
    const release = `${root}/releases/r1`;
    await mkdir(`${release}/ComfyUI/custom_nodes`, { recursive: true });
    await writeFile(`${release}/ComfyUI/requirements.txt`, '# ComfyUI\ntorch\n');
    for (const [name, text] of Object.entries(packs)) {
      await mkdir(`${release}/ComfyUI/custom_nodes/${name}`);
      await writeFile(`${release}/ComfyUI/custom_nodes/${name}/requirements.txt`, text);
    }
    const whole = aConfig({ ...config, root, python: { findLinks: [wheels], ...config.python } });
    const spec = installationSpec(
      whole,
      Object.keys(packs).map((name) => ({
        name,
        url: '',
        branch: null,
        commit: null,
        recursive: false,
        requirements: true,
        env: {},
        customScript: null,
      })),
    );
    const options = lab.options({ PATH: pathOfTests, UV_OFFLINE: '1' });
    const compiled: number[] = [];
    const environments = createPythonEnvironments({
      ...options,
      shell: {
        ...options.shell,
        run: (file, args, more) => {
          if (args[0] === 'pip' && args[1] === 'compile') compiled.push(args.length);
          return options.shell.run(file, args, more);
        },
      },
    });
    const log: string[] = [];
    const tracker = new InstallTracker({
      clock: createClock(),
      releaseId: 'r1',
      logFile: '',
      packs: spec.packs,
      onChange: () => undefined,
      writeLog: (line) => log.push(line),
    });
    const context = {
      ports: { python: environments, files: options.files } as unknown as Ports,
      config: whole,
      layout: layoutOf(whole),
      spec,
      directory: release,
      gpus: null,
      moves: NO_MOVES,
      tracker,
      signal: new AbortController().signal,
    } as unknown as InstallContext;
    return { context, compiled, log, environments, ...(await createEnvironment(context, true)) };
  };
  type Case = Awaited<ReturnType<typeof aCase>>;
  const resolved = ({ context, ...environment }: Case, preferences: readonly LockedPackage[] = []) =>
    resolveEnvironment({ ...context, pins: { ...pinsOf(null, context.spec, NO_MOVES), preferences } }, environment);
  const versions = (packages: readonly LockedPackage[]) => Object.fromEntries(packages.map(({ name, version }) => [name, version]));

  it('60 packs with a conflict pair cost six calls of uv, and one of the pair is left out', async () => {
    const packs = Object.fromEntries(
      Array.from({ length: 60 }, (_, i) => [`pack-${i}`, i === 7 ? 'tiny-lib<2\n' : i === 41 ? '\ntiny-lib>=2\n' : 'common\n']),
    );
    const whole = await aCase(packs);
    const resolution = await resolved(whole);
    // ComfyUI alone, all, the same of indexes as they are now, all but the suspects, each of the two.
    expect(whole.compiled).toHaveLength(6);
    expect(resolution.quarantined).toEqual([
      {
        name: 'pack-41',
        reason: expect.stringContaining('[tiny-lib>=2 (requirements.txt:2) against pack-7 tiny-lib<2 (requirements.txt:1)]') as string,
      },
    ]);
    expect(versions(resolution.packages)).toEqual({ common: '1.0', pip: '1.0', requests: '1.0', 'tiny-lib': '1.0', torch: '2.0' });
    expect(resolution.packages.every(({ hashes }) => hashes.length === 1)).toBe(true);
    expect(whole.log).toContain('pack-41  tiny-lib>=2 (requirements.txt:2)  pack-7 tiny-lib<2 (requirements.txt:1)');
    await installEnvironment(whole.context, whole.python, resolution);
    expect(await whole.environments.packages(whole.python)).toEqual(versions(resolution.packages));
  });

  it("ComfyUI's torch wins over packs, also when another package brings the demand", async () => {
    const whole = await aCase({ direct: 'torch==1.0\n', indirect: 'torch-user\n', good: 'common\n' });
    const { quarantined, packages, constraints } = await resolved(whole);
    expect(quarantined.map(({ name }) => name)).toEqual(['direct', 'indirect']);
    expect(versions(packages)).toMatchObject({ torch: '2.0', common: '1.0' });
    expect(constraints).toContain('torch==2.0');
    expect(whole.log).toContain('direct    torch==1.0 (requirements.txt:1)  ComfyUI torch==2.0');
    expect(whole.log.some((line) => /^indirect {2}torch-user \(requirements\.txt:1\) {2}ComfyUI torch(==2\.0)?/.test(line))).toBe(true);
  });

  it('with onConflict fail nothing is answered but the table', async () => {
    const whole = await aCase({ a: 'tiny-lib<2\n', b: 'tiny-lib>=2\n' }, { install: { onConflict: 'fail' } });
    await expect(resolved(whole)).rejects.toMatchObject({
      code: 'REQUIREMENTS_UNRESOLVED',
      details: {
        conflicts: [
          { pack: 'b', line: 'tiny-lib>=2', file: 'requirements.txt', lineNumber: 1, against: 'a tiny-lib<2 (requirements.txt:1)' },
        ],
      },
    });
  });

  it('what was resolved before stays, byte for byte, when another pack comes', async () => {
    const before = await resolved(await aCase({ a: 'tiny-lib\n' }, { python: { constraints: ['tiny-lib<2'] } }));
    const after = await resolved(await aCase({ a: 'tiny-lib\n', b: 'common\n' }), before.packages);
    const lines = after.packages.map(hashedLine);
    expect(lines).toEqual(expect.arrayContaining(before.packages.map(hashedLine)));
    expect(lines).toHaveLength(before.packages.length + 1);
    expect(versions((await resolved(await aCase({ a: 'tiny-lib\n' }))).packages)['tiny-lib']).toBe('2.0');
  });

  it('what is added by hand gets its digests, or stays out of the lock; what was moved is put back', async () => {
    const whole = await aCase({ a: 'tiny-lib<2\n' });
    const { context, environments, python } = whole;
    const resolution = await resolved(whole);
    await installEnvironment(context, python, resolution);
    const before = await environments.packages(python);
    const elsewhere = join(directory, 'elsewhere');
    await makeWheel(elsewhere, { name: 'homemade', version: '1.0' });
    const tampering = ['tiny-lib==2.0', 'common==1.0', 'homemade==1.0'].map((line) => toLockedPackage(line)!);
    const places = { indexUrl: null, extraIndexUrls: [], findLinks: [wheels, elsewhere] };
    await environments.install({ ...places, python, pins: tampering, constraints: [], torchBackend: null });
    await environments.remove(python, ['torch']);
    const { adopted, words } = await containChanges(context, { python, resolution }, before, { by: 'install.py', addedBy: 'a' });
    const wheel = join(wheels, 'common-1.0-py3-none-any.whl');
    expect(adopted).toEqual([
      { name: 'common', version: '1.0', url: null, hashes: [`sha256:${await createFiles().digest(wheel)}`], addedBy: 'a' },
    ]);
    expect(words).toEqual([
      'install.py replaced tiny-lib 1.0 by 2.0: undone',
      'install.py removed torch 2.0: undone',
      'install.py added common 1.0: adopted',
      'install.py added homemade 1.0, which the configured package indexes do not have: kept, not locked',
    ]);
    expect(await environments.packages(python)).toEqual({ ...before, common: '1.0', homemade: '1.0' });
  });
});
