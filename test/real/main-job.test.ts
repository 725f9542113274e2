import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { createComfy } from '../../src/adapters/comfyui/comfyui.ts';
import type { InstancesDocument } from '../../src/domain/health/health.ts';
import type { Release } from '../../src/domain/installation/release.ts';
import { startAgent, stopAgents, type TestAgent } from '../support/agent/agent.ts';
import { processesOf, startOf } from '../support/agent/processes.ts';
import { comfyuiContract } from '../support/comfyui/contract.ts';
import { realAgentOptions, realComfyui, stubWheels } from '../support/comfyui/real.ts';
import { eventually } from '../support/eventually.ts';
import { createPack, installationOf, nodesFile, packOf } from '../support/git/pack-origins.ts';

/**
 * The main job on a real ComfyUI, on the CPU, step after step on one root: `AGENT_REAL_COMFYUI_REPO=<git url> npm run test:real`.
 * It ends with a table of the steps and what they took.
 */

const INSTALLATION_LIMIT_MS = 900_000;
const START_LIMIT_MS = 120_000;
const HEALTH_PERIOD_MS = 100;
const HEALTH_REQUESTS = 200;
const CONNECTIONS = 100;
const HEALTH = [
  '/health',
  '/health/comfyui',
  '/health/comfyui/installation',
  '/health/comfyui/instances',
  '/health/comfyui/instances/0',
] as const;

const real = realComfyui();
if (real === null) console.log('skipped: AGENT_REAL_COMFYUI_REPO is not set');

const table: [step: string, result: string][] = [];
const seconds = (ms: number): string => `${(ms / 1_000).toFixed(2)} s`;
const record = (step: string, ms: number): void => void table.push([step, seconds(ms)]);
const timed = async <T>(step: string, work: () => Promise<T>): Promise<T> => {
  const began = performance.now();
  const result = await work();
  record(step, performance.now() - began);
  return result;
};
const recordSteps = (prefix: string, release: Release): void => {
  for (const [step, ms] of Object.entries(release.durations)) record(`${prefix}: ${step}`, ms);
};

const goodPack = `
class RealRunNode:
    RETURN_TYPES = ("INT",)
    FUNCTION = "run"
    CATEGORY = "real run"

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"value": ("INT", {"default": 1})}}

    def run(self, value):
        return (value,)


NODE_CLASS_MAPPINGS = {"RealRunNode": RealRunNode}
`;

describe.skipIf(real === null)('real ComfyUI on the CPU', () => {
  let directory: string;
  let wheels: string;
  let agent: TestAgent;
  let release: Release;
  let broken: Awaited<ReturnType<typeof createPack>>;
  const healthTimes: number[] = [];

  const releaseOf = async (): Promise<Release> =>
    ((await agent.get('/v1/state')).body as { observed: { release: Release } }).observed.release;
  const timeOfHealth = async (path: string): Promise<unknown> => {
    const began = performance.now();
    const { body } = await agent.get(path);
    healthTimes.push(performance.now() - began);
    return body;
  };
  const recordHealth = (when: string): void => {
    const slowest = Math.max(...healthTimes);
    table.push([`slowest of ${healthTimes.length} health answers, ${when}`, `${slowest.toFixed(1)} ms`]);
    healthTimes.length = 0;
    expect(slowest).toBeLessThan(1_000);
  };
  const ready = async (count: number): Promise<boolean> => {
    let capacity = 0;
    for (const path of HEALTH) {
      const body = await timeOfHealth(path);
      if (path === '/health/comfyui/instances') capacity = (body as InstancesDocument).capacity.ready;
    }
    if (capacity !== count) await new Promise((done) => setTimeout(done, HEALTH_PERIOD_MS));
    return capacity === count;
  };

  beforeAll(async () => {
    if (real === null) return;
    directory = await mkdtemp(join(tmpdir(), 'agent-real-'));
    wheels = await stubWheels();
    const good = await createPack(directory, 'good', { '__init__.py': goodPack });
    broken = await createPack(directory, 'broken', { '__init__.py': 'raise RuntimeError("this pack is broken on purpose")\n' });
    agent = await startAgent({
      ...realAgentOptions(real, wheels, 2),
      files: { 'shared/config_nodes.json': nodesFile({ name: 'Broken', url: broken.url }, { name: 'Good', url: good.url }) },
    });
  });
  afterAll(async () => {
    await stopAgents();
    for (const path of [directory, wheels]) if (path !== undefined) await rm(path, { recursive: true, force: true });
    for (const [step, result] of table) console.log(`${step.padEnd(68)} ${result}`);
  });

  it('installs into a bare root and gets two instances ready', async () => {
    await timed('bare root to two ready instances', () => eventually('both are ready', () => ready(2), INSTALLATION_LIMIT_MS));
    release = await releaseOf();
    recordSteps('installation', release);
    record('installation: trial start until it serves', release.validated?.startMs ?? Number.NaN);
    record('installation: canary', release.validated?.canaryMs ?? Number.NaN);
    recordHealth('during installation and start');
    table.unshift([
      `ComfyUI ${release.comfyuiVersion}, ${release.validated?.protocol}, Python ${release.pythonVersion}, torch ${release.torch}`,
      '',
    ]);
    expect(release.torch).toBe(real?.torch);
    for (const gpu of [0, 1]) {
      const { layers } = await agent.instance(gpu);
      expect(layers).toMatchObject({ runtime: { status: 'pass' }, functional: { status: 'pass' } });
    }
  });

  it('has loaded the good pack, and names the broken one with its reason', async () => {
    expect(await packOf(agent, 'Good')).toMatchObject({ state: 'loaded', error: null });
    const pack = await packOf(agent, 'Broken');
    expect(pack).toMatchObject({ state: 'failed', error: expect.stringMatching(/does not import: .*this pack is broken on purpose/) });
    expect(await installationOf(agent)).toMatchObject({
      status: 'degraded',
      ok: true,
      reason: expect.stringMatching(/^1 node pack failed: Broken \(.+\)$/) as string,
    });
    const classes = await createComfy().nodeClasses((await agent.instance(0)).url ?? '', 30_000);
    expect(classes.get('custom_nodes.Good')).toEqual(['RealRunNode']);
    table.push(['broken pack', pack.error ?? '']);
  });

  describe('contract of instance 0', () =>
    comfyuiContract(async () => ({
      comfy: createComfy(),
      baseUrl: (await agent.instance(0)).url ?? '',
      wire: true,
      ...(release.comfyuiVersion === null ? {} : { version: release.comfyuiVersion }),
      ...(release.validated === null ? {} : { protocol: release.validated.protocol }),
      close: async () => undefined,
    })));

  it('brings a killed instance back', async () => {
    const before = await agent.instance(0);
    const serves = async (): Promise<boolean> => (await fetch(`${before.url}/prompt`)).status === 200;
    const killed = performance.now();
    process.kill(before.pid ?? -1, 'SIGKILL');
    await eventually('nobody answers', async () => !(await serves().catch(() => false)));
    await eventually('it answers again', serves, START_LIMIT_MS);
    const serving = performance.now();
    await eventually(
      'it is ready',
      async () => (await agent.instance(0)).pid !== before.pid && (await agent.instance(0)).ready,
      START_LIMIT_MS,
    );
    const readyAt = performance.now();
    const after = await agent.instance(0);
    const began = await startOf(after.pid ?? -1);
    record('SIGKILL to the start of the new process', began - killed);
    record('own start: process begins to first HTTP answer', serving - began);
    record('SIGKILL to first HTTP answer', serving - killed);
    record('SIGKILL to ready (canary passed)', readyAt - killed);
    expect(after.restarts.total).toBe(1);
    expect(after.layers).toMatchObject({ runtime: { status: 'pass' }, functional: { status: 'pass' } });
    expect((await agent.instance(1)).restarts.total).toBe(0);
  });

  it('stops one, and discovery leads to the other', async () => {
    expect((await timed('agent stop 1', () => agent.cli('stop', '1'))).code).toBe(0);
    expect(await agent.instance(1)).toMatchObject({ status: 'stopped', ready: false, pid: null });
    let connected = 0;
    for (let index = 0; index < CONNECTIONS; index++) {
      const { body } = await agent.get('/v1/discovery');
      const [target] = (body as { instances: { ready: boolean; url: string }[] }).instances.filter((instance) => instance.ready);
      if ((await fetch(`${target?.url}/prompt`)).status === 200) connected++;
    }
    table.push(['connections through discovery', `${connected}/${CONNECTIONS}`]);
    expect(connected).toBe(CONNECTIONS);
    for (let index = 0; index < HEALTH_REQUESTS; index++) await timeOfHealth(HEALTH[index % HEALTH.length] ?? '/health');
    recordHealth('one instance running, one stopped');
  });

  it('installs anew when the pack is mended, and then has nothing left to do', async () => {
    await broken.commit({ '__init__.py': goodPack.replaceAll('RealRunNode', 'MendedNode') });
    const mended = await timed('agent update --pack after the broken pack was mended (warm caches)', () =>
      agent.cli('update', '--pack', 'Broken'),
    );
    expect(mended).toMatchObject({ code: 0, stdout: expect.not.stringContaining('failed node packs') });
    await timed('then until instance 0 is ready on the new release', () =>
      eventually(
        'it is on the new release',
        () => agent.instance(0).then((each) => each.ready && each.release !== release.id),
        START_LIMIT_MS,
      ),
    );
    const second = await releaseOf();
    recordSteps('update', second);
    expect(await packOf(agent, 'Broken')).toMatchObject({ state: 'loaded', error: null });
    expect((await agent.instance(1)).status).toBe('stopped');
    const pid = (await agent.instance(0)).pid;
    const again = await timed('agent install with nothing to do', () => agent.cli('install'));
    expect(again).toMatchObject({ code: 0, stdout: expect.stringContaining('already right') });
    expect((await agent.instance(0)).pid).toBe(pid);
  });

  it('leaves no process behind', async () => {
    expect(await processesOf(agent.root)).not.toEqual([]);
    expect(await timed('stop of the agent (SIGTERM)', () => agent.stop())).toBe(0);
    const left = await processesOf(agent.root);
    table.push(['processes left', String(left.length)]);
    expect(left).toEqual([]);
  });
});
