import { execFile, spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { mkdtemp, readFile, realpath, rename, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { delimiter, join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { stringify } from 'yaml';
import type { HealthDocument } from '../../../src/domain/health/health.ts';
import type { Lock } from '../../../src/domain/installation/lock.ts';
import {
  AGENT,
  baseEnvironment,
  type CliResult,
  freePorts,
  newRoot,
  startAgent,
  stopAgents,
  type TestAgent,
} from '../../support/agent/agent.ts';
import { createSimulatorOrigin } from '../../support/comfyui/simulator-origin.ts';
import { eventually } from '../../support/eventually.ts';
import { createPack, loads, nodesFile } from '../../support/git/pack-origins.ts';
import { compareReleases } from '../../support/kills/same-tree.ts';
import { makeRepository } from '../../support/python/lab.ts';
import { uvOnPath } from '../../support/python/uv.ts';
import { makeWheel } from '../../support/python/wheel.ts';

/**
 * One lock on two machines: from the network, and from a bundle inside a network namespace that has nothing but its own
 * loopback. Packs: one with a submodule, one with a package from an index, one with a package from a repository.
 */

const execute = promisify(execFile);
/** A network that ends at this process; it becomes the command. */
const WITHOUT_NETWORK = ['unshare', '-rn', 'sh', '-c', 'ip link set lo up && exec "$@"', 'sh'];

let directory: string;
let wheels: string;
let environment: Record<string, string> = {};
let config: Record<string, unknown>;
let nodes: string;
let skipped: string | null = null;
let namespaces: string | null = null;
beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), 'agent-e2e-bundle-'));
  wheels = join(directory, 'wheels');
  await makeWheel(wheels, { name: 'tiny-lib', version: '1.0', files: { 'tiny_lib/__init__.py': 'VERSION = "1.0"\n' } });
  await makeWheel(wheels, { name: 'tiny-user', version: '2.0', requires: ['tiny-lib>=1'] });
  const uv = await uvOnPath(directory, baseEnvironment());
  if ('skipped' in uv) {
    skipped = uv.skipped;
    return;
  }
  environment = {
    PATH: `${uv.path}${delimiter}${baseEnvironment()['PATH']}`,
    UV_OFFLINE: '1',
    PIP_FIND_LINKS: '',
    UV_FIND_LINKS: '',
    PIP_NO_INDEX: '1',
  };
  namespaces = await execute('unshare', ['-rn', 'ip', 'link', 'set', 'lo', 'up']).then(
    () => null,
    (error: Error) => `no network namespace can be made here: ${error.message.split('\n').at(-2) ?? error.message}`,
  );
  const core = await createSimulatorOrigin(join(directory, 'ComfyUI'));
  const library = await createPack(directory, 'library', { 'shared.py': 'ANSWER = 42\n' });
  const outer = await createPack(directory, 'outer', {
    '__init__.py': loads('from .vendor.library import shared\nassert shared.ANSWER == 42'),
  });
  await outer.submodule('vendor/library', library.url);
  const indexed = await createPack(directory, 'indexed', {
    '__init__.py': loads('import tiny_lib\nassert tiny_lib.VERSION == "1.0"'),
    'requirements.txt': 'tiny-user\n',
  });
  const repository = await makeRepository(join(directory, 'vcs'));
  const built = await createPack(directory, 'built', { '__init__.py': loads('import comfy_vcs') });
  nodes = nodesFile(
    { name: 'Outer', url: outer.url, recursive: true },
    { name: 'Indexed', url: indexed.url, requirements: true },
    { name: 'Built', url: built.url, requirements: false },
  );
  config = {
    comfyui: { repository: core.url, branch: 'main' },
    python: { findLinks: [wheels], extraRequirements: [`comfy-vcs @ git+file://${repository}`] },
  };
}, 120_000);
afterAll(() => rm(directory, { recursive: true, force: true }));
afterEach(stopAgents);

/** A root as an operator prepares it. */
async function aRoot(files: Readonly<Record<string, string>>): Promise<string> {
  const root = await newRoot();
  const first = await freePorts(2);
  await writeFile(
    join(root, 'agent.yaml'),
    stringify({ ...config, ports: { first }, gpu: { mode: 'mock', mockCount: 2 }, api: { port: 0 } }),
  );
  await execute('mkdir', ['-p', join(root, 'shared')]);
  for (const [path, content] of Object.entries(files)) await writeFile(join(root, path), content);
  return root;
}

const run = (root: string, args: readonly string[], prefix: readonly string[] = []): Promise<CliResult> =>
  new Promise((done, failed) => {
    const [file = '', ...rest] = [...prefix, process.execPath, AGENT, ...args, '--root', root];
    const child = spawn(file, rest, {
      env: { ...baseEnvironment(), SIM_STARTUP_MS: '300', ...environment },
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    let [stdout, stderr] = ['', ''];
    child.stdout.on('data', (chunk) => (stdout += String(chunk)));
    child.stderr.on('data', (chunk) => (stderr += String(chunk)));
    child.once('error', failed);
    child.once('close', (code) => done({ code, stdout, stderr }));
  });

const succeeds = async (root: string, args: readonly string[], prefix: readonly string[] = []): Promise<string> => {
  const result = await run(root, args, prefix);
  expect(result, `${args.join(' ')}: ${result.stderr}`).toMatchObject({ code: 0 });
  return result.stdout;
};

const lockOf = async (root: string): Promise<Lock> => JSON.parse(await readFile(join(root, 'agent.lock.json'), 'utf8')) as Lock;
const packagesOf = async (root: string): Promise<unknown> =>
  (JSON.parse(await readFile(join(root, 'current/release.json'), 'utf8')) as { packages: unknown }).packages;

const untilHealthy = (agent: TestAgent): Promise<unknown> =>
  eventually(
    'two instances are healthy',
    async () => {
      const health = await agent.json<HealthDocument>('health');
      if (health.status !== 'healthy') throw new Error(`${health.status}: ${JSON.stringify(health.reasons)}\n${agent.output()}`);
      return true;
    },
    60_000,
  );

async function theSame(one: string, two: string): Promise<void> {
  expect(await lockOf(two)).toEqual(await lockOf(one));
  expect(await packagesOf(two)).toEqual(await packagesOf(one));
  const { same, different, explained } = await compareReleases(one, two);
  expect(different).toEqual([]);
  // Enough was compared for that to mean something, and nothing but notes of uv needs explaining.
  expect(same).toBeGreaterThan(50);
  for (const line of explained) expect(line).toMatch(/^venv\/lib(?:64)?\/.*\.dist-info\/(?:direct_url|uv_build|uv_cache)\.json: /);
}

describe('a bundle', () => {
  it('gives the same files and packages by a bundle as from the network, on a machine that has none', async ({ skip }) => {
    if (skipped !== null) return skip(skipped);
    if (namespaces !== null) return skip(namespaces);
    const one = await aRoot({ 'shared/config_nodes.json': nodes });
    await succeeds(one, ['install']);
    const file = join(directory, 'one.tar');
    expect(await succeeds(one, ['bundle', 'create', file])).toContain(`${file} holds release`);
    expect((await stat(file)).mode & 0o777).toBe(0o600);
    expect((await execute('tar', ['-tf', file])).stdout.split('\n')[0]).toBe('manifest.json');

    // What it was made of is out of reach, by the network and on the disk.
    const away = `${directory}-away`;
    const kept = join(tmpdir(), `${file.split('/').at(-2)}.tar`);
    await rename(file, kept);
    await rename(directory, away);
    try {
      const two = await aRoot({});
      // The machine's own uv may have gone with it: the one of the bundle is used.
      await succeeds(two, ['install', '--bundle', kept], WITHOUT_NETWORK);
      expect(existsSync(join(two, 'shared/config_nodes.json'))).toBe(true);
      await theSame(one, two);
      // The comparison would see one byte.
      const shared = join(await realpath(join(two, 'current')), 'ComfyUI/custom_nodes/Outer/vendor/library/shared.py');
      await writeFile(shared, 'ANSWER = 43\n');
      expect((await compareReleases(one, two)).different).toMatchObject([expect.stringContaining('vendor/library/shared.py: ')]);
      await writeFile(shared, 'ANSWER = 42\n');
      const agent = await startAgent({ root: two, gpus: 2, config, environment, prefix: WITHOUT_NETWORK });
      await untilHealthy(agent);
      expect(await agent.cli('install', '--verify')).toMatchObject({ code: 0 });
      expect(await agent.cli('install', '--bundle', kept)).toMatchObject({ code: 0, stdout: expect.stringContaining('nothing to do') });
      await writeFile(kept, Buffer.concat([(await readFile(kept)).subarray(0, -4_000), Buffer.alloc(4_000, 1)]));
      expect(await agent.cli('install', '--bundle', kept)).toMatchObject({
        code: 1,
        stderr: expect.stringContaining('error[BUNDLE_INVALID]'),
      });
    } finally {
      await rename(away, directory);
      await rm(kept, { force: true });
    }
  }, 240_000);
});
