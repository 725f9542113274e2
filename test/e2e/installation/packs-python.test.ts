import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { delimiter, join } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import type { ReleasesDocument } from '../../../src/domain/agent.ts';
import type { OperationDocument } from '../../../src/domain/operation.ts';
import { baseEnvironment, startAgent, stopAgents, type TestAgent } from '../../support/agent/agent.ts';
import { createPack, installationOf, loads, nodesFile, packOf } from '../../support/git/pack-origins.ts';
import { uvOnPath } from '../../support/python/uv.ts';
import { makeWheel } from '../../support/python/wheel.ts';

/** Python packages of node packs, from wheels beside the test and without a network. */

let directory: string;
let wheels: string;
let environment: Record<string, string> = {};
let skipped: string | null = null;
beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), 'agent-e2e-wheels-'));
  wheels = join(directory, 'wheels');
  await makeWheel(wheels, { name: 'tiny-lib', version: '1.0', files: { 'tiny_lib/__init__.py': 'VERSION = "1.0"\n' } });
  await makeWheel(wheels, { name: 'tiny-lib', version: '2.0', files: { 'tiny_lib/__init__.py': 'VERSION = "2.0"\n' } });
  for (const version of ['2.9.1', '2.13.0+cpu'])
    await makeWheel(wheels, { name: 'torch', version, files: { 'torch/__init__.py': `VERSION = "${version}"\n` } });
  await makeWheel(wheels, { name: 'tiny-user', version: '1.0', requires: ['tiny-lib>=1'] });
  const uv = await uvOnPath(directory, baseEnvironment());
  if ('skipped' in uv) skipped = uv.skipped;
  // The machine's own places for wheels would come before those of the configuration.
  else environment = { PATH: `${uv.path}${delimiter}${baseEnvironment()['PATH']}`, UV_OFFLINE: '1', PIP_FIND_LINKS: '', UV_FIND_LINKS: '' };
});
afterAll(() => rm(directory, { recursive: true, force: true }));
afterEach(stopAgents);

const start = async (nodes: string, python: Record<string, unknown> = {}): Promise<TestAgent> => {
  const agent = await startAgent({
    gpus: 1,
    environment,
    files: { 'shared/config_nodes.json': nodes },
    config: { python: { findLinks: [wheels], ...python } },
  });
  await agent.untilReady([0]);
  return agent;
};
const packagesOf = async (agent: TestAgent): Promise<Readonly<Record<string, string>>> => {
  const { releases } = await agent.json<ReleasesDocument>('releases');
  return releases.find((release) => release.current)?.release?.packages ?? {};
};

/** A pack that does not load unless the package is there in that version. */
const asks = (version: string): Record<string, string> => ({
  '__init__.py': loads(`import tiny_lib\nassert tiny_lib.VERSION == "${version}", tiny_lib.VERSION`),
});

describe('requirements of packs', () => {
  it('are met together, and are there for all instances', async ({ skip }) => {
    if (skipped !== null) return skip(skipped);
    const one = await createPack(directory, 'one', { ...asks('1.0'), 'requirements.txt': 'tiny-lib<2\n' });
    const two = await createPack(directory, 'two', { ...asks('1.0'), 'requirements.txt': '# any\ntiny-user\n' });
    const agent = await start(
      nodesFile({ name: 'One', url: one.url, requirements: true }, { name: 'Two', url: two.url, requirements: true }),
    );
    expect(await packOf(agent, 'One')).toMatchObject({ state: 'loaded', error: null });
    expect(await packOf(agent, 'Two')).toMatchObject({ state: 'loaded', error: null });
    expect(await packagesOf(agent)).toMatchObject({ 'tiny-lib': '1.0', 'tiny-user': '1.0' });

    // The same again comes out of the cache, and the operation says so.
    const again = await agent.json<OperationDocument>('reinstall');
    const step = again.install?.steps.find(({ name }) => name === 'environment');
    expect(step?.cache?.total).toBeGreaterThanOrEqual(2);
    expect(step?.cache?.hits).toBe(step?.cache?.total);
  });

  it('that do not fit are told on the pack that cannot have them, and the others have theirs', async ({ skip }) => {
    if (skipped !== null) return skip(skipped);
    const first = await createPack(directory, 'first', { ...asks('2.0'), 'requirements.txt': 'tiny-lib\n' });
    const absent = await createPack(directory, 'absent', { 'requirements.txt': 'a-package-that-nobody-has==9.9\n' });
    const agent = await start(
      nodesFile({ name: 'First', url: first.url, requirements: true }, { name: 'Absent', url: absent.url, requirements: true }),
    );
    expect(await packOf(agent, 'First')).toMatchObject({ state: 'loaded', error: null });
    const pack = await packOf(agent, 'Absent');
    expect(pack.state).toBe('failed');
    expect(pack.error).toMatch(/^its requirements do not fit: .*a-package-that-nobody-has/s);
    expect(pack.error).toContain('python.overrides');
    expect(await installationOf(agent)).toMatchObject({
      status: 'degraded',
      reason: expect.stringMatching(/^1 node pack failed: Absent \(.+\)$/) as string,
    });
    expect(await packagesOf(agent)).toMatchObject({ 'tiny-lib': '2.0' });
  });

  it('are overridden by configuration', async ({ skip }) => {
    if (skipped !== null) return skip(skipped);
    const pack = await createPack(directory, 'overridden', { ...asks('1.0'), 'requirements.txt': 'tiny-lib>=2\n' });
    const agent = await start(nodesFile({ name: 'Pack', url: pack.url, requirements: true }), { overrides: ['tiny-lib==1.0'] });
    expect(await packOf(agent, 'Pack')).toMatchObject({ state: 'loaded', error: null });
    expect(await packagesOf(agent)).toMatchObject({ 'tiny-lib': '1.0' });
  });

  it('are not asked for a pack whose entry says so; a missing requirements.txt is told', async ({ skip }) => {
    if (skipped !== null) return skip(skipped);
    const unasked = await createPack(directory, 'unasked', { 'requirements.txt': 'a-package-that-nobody-has\n' });
    const without = await createPack(directory, 'without');
    const agent = await start(
      nodesFile({ name: 'Unasked', url: unasked.url, requirements: false }, { name: 'Without', url: without.url, requirements: true }),
    );
    expect(await packOf(agent, 'Unasked')).toMatchObject({ state: 'loaded', warnings: [] });
    expect(await packOf(agent, 'Without')).toMatchObject({ state: 'loaded', warnings: [expect.stringContaining('no requirements.txt')] });
  });
});

describe('an install.py', () => {
  const installs = (...requirements: string[]): string =>
    `${[
      'import os, subprocess, sys',
      // Like the many that ask for no constraint at all.
      'environment = {name: value for name, value in os.environ.items() if not name.endswith("_CONSTRAINT")}',
      `subprocess.check_call(["uv", "pip", "install", "--offline", "--no-index", "--find-links", ${JSON.stringify(wheels)}, "--python", sys.executable, ${requirements.map((each) => JSON.stringify(each)).join(', ')}], env=environment)`,
    ].join('\n')}\n`;

  it('that swaps torch has no effect; what it adds stays; both are told on its pack', async ({ skip }) => {
    if (skipped !== null) return skip(skipped);
    const needsTorch = await createPack(directory, 'needs-torch', {
      '__init__.py': loads('import torch, tiny_lib\nassert torch.VERSION == "2.13.0+cpu", torch.VERSION\nassert tiny_lib.VERSION == "2.0"'),
      'requirements.txt': 'torch\ntiny-lib==2.0\n',
    });
    const swapper = await createPack(directory, 'swapper', {
      '__init__.py': loads('import tiny_user'),
      'install.py': installs('torch==2.9.1', 'tiny-lib==1.0', 'tiny-user'),
    });
    const agent = await start(
      nodesFile(
        { name: 'NeedsTorch', url: needsTorch.url, requirements: true },
        { name: 'Swapper', url: swapper.url, requirements: false },
      ),
    );
    expect(await packOf(agent, 'NeedsTorch')).toMatchObject({ state: 'loaded', warnings: [] });
    expect(await packOf(agent, 'Swapper')).toMatchObject({
      state: 'loaded',
      warnings: [
        'install.py replaced tiny-lib 2.0 by 1.0: undone',
        'install.py replaced torch 2.13.0+cpu by 2.9.1: undone',
        'install.py added tiny-user 1.0: adopted',
      ],
    });
    expect(await packagesOf(agent)).toMatchObject({ torch: '2.13.0+cpu', 'tiny-lib': '2.0', 'tiny-user': '1.0' });
  });

  it('that keeps to the constraints it is given cannot even begin to swap', async ({ skip }) => {
    if (skipped !== null) return skip(skipped);
    const held = await createPack(directory, 'held', { 'install.py': installs('torch==2.9.1').replace(', env=environment', '') });
    const agent = await start(nodesFile({ name: 'Held', url: held.url, requirements: true }), {
      constraints: ['torch==2.13.0+cpu'],
      extraRequirements: ['torch'],
    });
    expect((await packOf(agent, 'Held')).warnings).toEqual([
      expect.stringContaining('no requirements.txt'),
      expect.stringMatching(/^install\.py ended with exit code 1: .*torch==2\.9\.1/s),
    ]);
    expect(await packagesOf(agent)).toMatchObject({ torch: '2.13.0+cpu' });
  });
});
