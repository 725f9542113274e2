import { execFileSync, spawnSync } from 'node:child_process';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, describe, expect, it } from 'vitest';
import type { GpusDocument } from '../../src/domain/agent.ts';
import { startAgent, stopAgents } from '../support/agent/agent.ts';
import { eventually } from '../support/eventually.ts';

/**
 * The main job with CUDA, where a card is at hand: `AGENT_REAL_COMFYUI_REPO=<git url> npm run test:gpu`. Each process must see
 * exactly its card. AGENT_REAL_TORCH is the build to install (default: by driver).
 */

const repository = process.env['AGENT_REAL_COMFYUI_REPO'];
const hasGpu = spawnSync('nvidia-smi', ['-L'], { timeout: 10_000 }).status === 0;
const reason = repository === undefined ? 'AGENT_REAL_COMFYUI_REPO is not set' : hasGpu ? null : 'there is no NVIDIA GPU';
if (reason !== null) console.log(`skipped: ${reason}`);

afterEach(stopAgents);

describe.skipIf(reason !== null)('real ComfyUI on the GPU', () => {
  it('gives each process exactly its card', async () => {
    const agent = await startAgent({
      gpus: 1,
      config: {
        gpu: { mode: 'actual', mockCount: null },
        comfyui: {
          repository,
          branch: process.env['AGENT_REAL_COMFYUI_BRANCH'] ?? null,
          commit: process.env['AGENT_REAL_COMFYUI_COMMIT'] ?? null,
        },
        python: { torch: process.env['AGENT_REAL_TORCH'] ?? 'auto' },
      },
    });
    await eventually('the machine is healthy', async () => (await agent.get('/ready')).status === 200, 1_500_000);
    const { gpus } = await agent.json<GpusDocument>('gpus');
    for (const gpu of gpus) {
      const instance = await agent.instance(gpu.index);
      expect(instance).toMatchObject({ ready: true, uuid: gpu.uuid });
      const environment = (await readFile(`/proc/${instance.pid}/environ`, 'utf8')).split('\0');
      expect(environment).toContain(`CUDA_VISIBLE_DEVICES=${gpu.uuid}`);
      const stats = (await (await fetch(`${instance.url}/system_stats`)).json()) as { devices: { name: string; type: string }[] };
      expect(stats.devices).toHaveLength(1);
      expect(stats.devices[0]).toMatchObject({ type: 'cuda', name: expect.stringContaining(gpu.name) as unknown });
      const count = execFileSync(join(agent.root, 'current/venv/bin/python'), ['-c', 'import torch; print(torch.cuda.device_count())'], {
        env: { CUDA_VISIBLE_DEVICES: gpu.uuid, PATH: process.env['PATH'] ?? '' },
        encoding: 'utf8',
      });
      expect(count.trim()).toBe('1');
      const apps = execFileSync('nvidia-smi', ['--query-compute-apps=gpu_uuid,pid', '--format=csv,noheader'], { encoding: 'utf8' });
      const own = apps.split('\n').filter((line) => line.endsWith(` ${instance.pid}`));
      // In a container the driver tells no pids; where it does, they must be on this card.
      for (const line of own) expect(line).toContain(gpu.uuid);
    }
    expect(await agent.stop()).toBe(0);
  });
});
