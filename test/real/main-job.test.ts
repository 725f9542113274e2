import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, describe, expect, it } from 'vitest';
import type { Release } from '../../src/domain/release.ts';
import { startAgent, stopAgents } from '../support/agent.ts';
import { eventually } from '../support/eventually.ts';
import { makeWheel } from '../support/wheel.ts';

/**
 * The main job on a real ComfyUI, on the CPU: `AGENT_REAL_COMFYUI_REPO=<git url> npm run test:real`.
 * Optional: AGENT_REAL_COMFYUI_BRANCH, AGENT_REAL_COMFYUI_COMMIT, AGENT_REAL_TORCH (default 2.13.0+cpu), AGENT_REAL_FIND_LINKS
 * (folders with wheels, comma-separated). torchvision and torchaudio are stubs: a CPU start needs only their names.
 */

const repository = process.env['AGENT_REAL_COMFYUI_REPO'];
const torch = process.env['AGENT_REAL_TORCH'] ?? '2.13.0+cpu';
const findLinks = (process.env['AGENT_REAL_FIND_LINKS'] ?? '').split(',').filter((folder) => folder !== '');
if (repository === undefined) console.log('skipped: AGENT_REAL_COMFYUI_REPO is not set');

const times: [step: string, seconds: string][] = [];
const timed = async <T>(step: string, work: () => Promise<T>): Promise<T> => {
  const began = performance.now();
  const result = await work();
  times.push([step, ((performance.now() - began) / 1_000).toFixed(2)]);
  return result;
};

async function stubWheels(): Promise<string> {
  const directory = await mkdtemp(join(tmpdir(), 'agent-real-wheels-'));
  await makeWheel(directory, {
    name: 'torchvision',
    version: '0.28.0+stub',
    files: { 'torchvision/__init__.py': 'from . import transforms\n', 'torchvision/transforms.py': '' },
  });
  await makeWheel(directory, { name: 'torchaudio', version: '2.13.0+stub', files: { 'torchaudio/__init__.py': '' } });
  return directory;
}

afterEach(stopAgents);
afterAll(() => {
  for (const [step, seconds] of times) console.log(`${seconds.padStart(8)} s  ${step}`);
});

describe.skipIf(repository === undefined)('real ComfyUI on the CPU', () => {
  it('installs, serves twice, passes the canary, heals, stops, and has nothing left to do', async () => {
    const wheels = await stubWheels();
    const agent = await startAgent({
      gpus: 2,
      config: {
        gpu: { mode: 'cpu', count: 2, mockCount: null },
        comfyui: {
          repository,
          branch: process.env['AGENT_REAL_COMFYUI_BRANCH'] ?? null,
          commit: process.env['AGENT_REAL_COMFYUI_COMMIT'] ?? null,
        },
        python: { torch, overrides: ['torchvision==0.28.0+stub', 'torchaudio==2.13.0+stub'], findLinks: [...findLinks, wheels] },
      },
      // The environment wins over the file, and here it must not.
      environment: { PIP_FIND_LINKS: [...findLinks, wheels].join(' ') },
    });
    try {
      await timed('bare root to two ready instances', () =>
        eventually(
          'both are ready',
          async () =>
            (await agent.get('/ready')).body && (await agent.json<{ capacity: { ready: number } }>('discovery')).capacity.ready === 2,
          900_000,
        ),
      );
      const { observed } = (await agent.get('/v1/state')).body as { observed: { release: Release } };
      const { release } = observed;
      for (const [step, ms] of Object.entries(release.durations)) times.push([`installation: ${step}`, (ms / 1_000).toFixed(2)]);
      times.push([
        `own start of ComfyUI ${release.comfyuiVersion}, ${release.validated?.protocol}`,
        ((release.validated?.startMs ?? 0) / 1_000).toFixed(2),
      ]);
      expect(release.torch).toBe(torch);
      const before = await agent.instance(0);
      expect(before.layers).toMatchObject({ runtime: { status: 'pass' }, functional: { status: 'pass' } });

      process.kill(before.pid ?? -1, 'SIGKILL');
      await eventually('it is not ready', async () => (await agent.get('/health/comfyui/instances/0')).status === 503);
      await timed('SIGKILL to ready', () => eventually('it is ready', async () => (await agent.instance(0)).ready, 120_000));
      expect((await agent.instance(0)).pid).not.toBe(before.pid);

      expect((await agent.cli('stop', '1')).code).toBe(0);
      expect((await agent.instance(1)).status).toBe('stopped');
      const again = await timed('agent install with nothing to do', () => agent.cli('install'));
      expect(again.stdout + again.stderr).toContain('already right');

      for (let index = 0; index < 100; index++) {
        const { body } = await agent.get('/v1/discovery');
        const [ready] = (body as { instances: { ready: boolean; url: string }[] }).instances.filter((instance) => instance.ready);
        expect((await fetch(`${ready?.url}/prompt`)).status).toBe(200);
      }
      expect(await timed('agent stop', () => agent.stop())).toBe(0);
    } finally {
      await rm(wheels, { recursive: true, force: true });
    }
  });
});
