import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { createComfy } from '../../src/adapters/comfyui/comfyui.ts';
import type { Release } from '../../src/domain/installation/release.ts';
import { startAgent, stopAgents, type TestAgent } from '../support/agent/agent.ts';
import { realAgentOptions, realComfyui, stubWheels } from '../support/comfyui/real.ts';
import { eventually } from '../support/eventually.ts';
import { installationOf, packOf } from '../support/git/pack-origins.ts';
import { createPredecessorLab, type PredecessorLab } from '../support/git/predecessor-packs.ts';

/** The predecessor's list of node packs, as local repositories with requirements of PyPI, on a real ComfyUI on the CPU. */

const INSTALLATION_LIMIT_MS = 540_000;
const START_LIMIT_MS = 120_000;
/** The swapper wants another torch, the second of the pair another version of a package; one does not import. */
const LEFT_OUT = ['fails-to-import', 'math-two', 'torch-swapper'];

const real = realComfyui();
const table: [step: string, result: string][] = [];

describe.skipIf(real === null)('sixty node packs on real ComfyUI', () => {
  let directory: string;
  let wheels: string;
  let lab: PredecessorLab;
  let agent: TestAgent;

  const releaseOf = async (): Promise<Release> =>
    ((await agent.get('/v1/state')).body as { observed: { release: Release } }).observed.release;
  const record = (what: string, began: number, release: Release): void => {
    table.push([what, `${((performance.now() - began) / 1_000).toFixed(1)} s`]);
    for (const [step, ms] of Object.entries(release.durations)) table.push([`  ${step}`, `${(ms / 1_000).toFixed(2)} s`]);
    table.push(['  of which until the trial served', `${((release.validated?.startMs ?? Number.NaN) / 1_000).toFixed(2)} s`]);
  };
  const failed = (release: Release): string[] =>
    release.packs
      .filter(({ state }) => state === 'failed')
      .map(({ name }) => name)
      .sort();

  beforeAll(async () => {
    if (real === null) return;
    directory = await mkdtemp(join(tmpdir(), 'agent-real-packs-'));
    wheels = await stubWheels();
    lab = await createPredecessorLab(join(directory, 'lab'));
  }, 120_000);
  afterAll(async () => {
    await stopAgents();
    for (const path of [directory, wheels]) if (path !== undefined) await rm(path, { recursive: true, force: true });
    for (const [step, result] of table) console.log(`${step.padEnd(68)} ${result}`);
  });

  it('are installed, but for those that cannot be, which are named with the reason; torch stays', async () => {
    const options = realAgentOptions(real!, wheels, 1);
    const began = performance.now();
    agent = await startAgent({
      ...options,
      // The swapper's torch can be had.
      config: { ...options.config, python: { ...options.config.python, findLinks: [...options.config.python.findLinks, lab.wheels] } },
      environment: { PIP_FIND_LINKS: `${options.environment.PIP_FIND_LINKS} ${lab.wheels}` },
      files: { 'shared/config_nodes.json': lab.nodesFile() },
    });
    await eventually('it is ready', async () => (await agent.instance(0)).ready, INSTALLATION_LIMIT_MS);
    const release = await releaseOf();
    record('bare root to ready', began, release);
    expect(release.packs).toHaveLength(60);
    expect(failed(release)).toEqual(LEFT_OUT);
    expect(release.torch).toBe(real?.torch);
    expect((await packOf(agent, 'torch-swapper')).error).toMatch(/torch==2\.0\.1\+stub/);
    expect((await packOf(agent, 'math-two')).error).toMatch(/simpleeval/);
    expect((await packOf(agent, 'fails-to-import')).error).toMatch(/a_module_that_nobody_has/);
    expect(await installationOf(agent)).toMatchObject({ status: 'degraded', ok: true });
  });

  it('offer their nodes in the running server', async () => {
    const classes = await createComfy().nodeClasses((await agent.instance(0)).url ?? '', 60_000);
    const expected = lab.packs.map(({ recipe }) => recipe.name).filter((name) => !LEFT_OUT.includes(name));
    expect(expected.filter((name) => !classes.has(`custom_nodes.${name}`))).toEqual([]);
    expect(LEFT_OUT.filter((name) => classes.has(`custom_nodes.${name}`))).toEqual([]);
  });

  it('a second release that moves one pack follows, and going back takes a moment', async () => {
    const moving = lab.packs.at(-1)!;
    const first = await releaseOf();
    const commit = await moving.origin.commit({ 'README.md': 'moved\n' });
    const began = performance.now();
    const { code, stderr } = await agent.cli('update', '--pack', moving.recipe.name);
    expect(code, stderr).toBe(0);
    const release = await releaseOf();
    record('agent update of one pack, instance moved', began, release);
    expect((await packOf(agent, moving.recipe.name)).commit).toBe(commit);
    expect(release.packages).toEqual(first.packages);
    const back = performance.now();
    expect((await agent.cli('rollback')).code).toBe(0);
    await eventually(
      'the first serves',
      async () => (await agent.instance(0)).ready && (await agent.instance(0)).release === first.id,
      START_LIMIT_MS,
    );
    table.push(['agent rollback until the old release serves', `${((performance.now() - back) / 1_000).toFixed(1)} s`]);
    const verified = await agent.cli('install', '--verify');
    expect(verified.code, verified.stdout).toBe(0);
  });
});
