import { readFile } from 'node:fs/promises';
import { afterEach, describe, expect, it } from 'vitest';
import type { GpusDocument } from '../../../src/domain/agent.ts';
import { type AgentOptions, startAgent, stopAgents, type TestAgent } from '../../support/agent/agent.ts';
import { driverCards } from '../../support/agent/cards.ts';
import { editConfig, healthOf, pidsOf, untilHealthy, untilHeld } from '../../support/agent/scene.ts';
import { eventually } from '../../support/eventually.ts';
import type { FakeNvidiaSmi, Switches } from '../../support/hardware/nvidia-smi.ts';

/** Two cards by a recorded nvidia-smi: who gets which, who sits on one, and a driver that does not answer. */

const CARDS = ['GPU-2e9c4d1a-7b35-48f6-9c02-a1b2c3d4e5f6', 'GPU-8f1d2c3b-4a59-4768-8796-b5c4d3e2f1a0'];

afterEach(stopAgents);

async function startWithCards(switches: Switches, options: AgentOptions = {}): Promise<{ agent: TestAgent; smi: FakeNvidiaSmi }> {
  const cards = await driverCards(2, switches);
  return { agent: await startAgent({ ...options, cards }), smi: cards.smi };
}

async function variablesOf(pid: number | null): Promise<Record<string, string>> {
  const text = await readFile(`/proc/${pid}/environ`, 'utf8');
  return Object.fromEntries(text.split('\0').map((entry) => entry.split(/=(.*)/s) as [string, string]));
}

describe('two cards', () => {
  it('are pinned by UUID, one for each instance, and answer by index and by UUID', async () => {
    const { agent } = await startWithCards({});
    await agent.untilReady([0, 1]);
    await untilHealthy(agent);
    for (const [gpu, uuid] of CARDS.entries()) {
      const instance = await agent.instance(gpu);
      expect(instance).toMatchObject({ uuid, gpuName: 'NVIDIA L40S', name: `comfyui-gpu${gpu}`, port: agent.firstPort + gpu });
      const variables = await variablesOf(instance.pid);
      expect(variables['CUDA_VISIBLE_DEVICES']).toBe(uuid);
      expect(variables).not.toHaveProperty('CUDA_DEVICE_ORDER');
      const command = await readFile(`/proc/${instance.pid}/cmdline`, 'utf8');
      expect(command).not.toContain('--cuda-device');
      expect(command).not.toContain('--cpu');
      expect((await agent.get(`/health/comfyui/instances/${uuid}`)).body).toMatchObject({ gpu, pid: instance.pid });
    }
    expect((await agent.get('/health/comfyui/instances/2')).status).toBe(404);
    const { gpus, present } = await agent.json<GpusDocument>('gpus');
    expect(present).toBe(true);
    expect(gpus.map(({ uuid, instance, owner }) => ({ uuid, instance, owner }))).toEqual(
      CARDS.map((uuid, gpu) => ({ uuid, instance: `comfyui-gpu${gpu}`, owner: null })),
    );
  });

  it('are pinned by index when asked, in the order of the bus', async () => {
    const { agent } = await startWithCards({}, { environment: { COMFYUI_PIN: 'index' } });
    await agent.untilReady([0, 1]);
    for (const [gpu, pid] of (await pidsOf(agent)).entries()) {
      expect(await variablesOf(pid)).toMatchObject({ CUDA_VISIBLE_DEVICES: String(gpu), CUDA_DEVICE_ORDER: 'PCI_BUS_ID' });
    }
  });

  it.each([
    ['fewer are asked for', '1', 1, 'healthy', null],
    ['more are asked for than are there', '4', 2, 'degraded', /4 GPUs are asked for .* and 2 found/],
  ] as const)('are used as NUM_GPUS says when %s', async (_, count, used, status, reason) => {
    const { agent } = await startWithCards({}, { environment: { NUM_GPUS: count } });
    await agent.untilReady();
    const health = await healthOf(agent);
    expect(health.instances.map((instance) => instance.gpu)).toEqual(Array.from({ length: used }, (_, gpu) => gpu));
    expect(health.status).toBe(status);
    if (reason !== null) expect(health.reasons.join('\n')).toMatch(reason);
  });
});

describe('a stranger on a card', () => {
  it('holds that card by its name, and leaves the other', async () => {
    const { agent, smi } = await startWithCards({ set: '535-2x4090', pid: process.pid });
    await agent.untilReady([0]);
    const hold = await untilHeld(agent, 'instance 1', 'GPU_FOREIGN_PROCESS');
    expect(hold.reason).toMatch(new RegExp(`^pid ${process.pid} \\(.*python\\) uses 18192 MiB of GPU 1$`));
    expect(hold.help).toContain('gpu.foreignProcess');
    expect(await agent.instance(1)).toMatchObject({ ready: false, pid: null, hold: hold.reason });
    const { gpus } = await agent.json<GpusDocument>('gpus');
    expect(gpus[1]?.owner).toContain(`pid ${process.pid}`);

    // By configuration it is a warning, and the instance runs.
    await editConfig(agent.root, { gpu: { foreignProcess: 'warn' } });
    await agent.untilReady([0, 1]);
    expect((await smi.calls()).length).toBeGreaterThan(0);
  });

  it('whose pid cannot be resolved holds nothing', async () => {
    const { agent } = await startWithCards({ set: '535-2x4090', pid: 4_194_300 });
    await agent.untilReady([0, 1]);
    expect((await healthOf(agent)).holds).toEqual([]);
  });
});

describe('a driver that hangs', () => {
  it('makes cards unknown from the first second, neither absent nor failed, and everything answers', async () => {
    const { agent, smi } = await startWithCards({ mode: 'hang' });
    // Before the cards were ever seen.
    const early = await agent.get('/health/comfyui/instances/0');
    expect(early.status).toBe(503);
    expect(early.body).toMatchObject({ gpu: 0, status: 'unknown', ready: false });
    expect((await agent.get('/health/comfyui/instances/1')).status).toBe(503);
    await eventually('the driver is named', async () => {
      const { holds } = await healthOf(agent);
      return holds.some(({ code, reason }) => code === 'GPU_QUERY_FAILED' && /nvidia-smi did not answer within 1500 ms/.test(reason));
    });
    const asked = performance.now();
    expect((await agent.get('/health')).status).toBe(200);
    expect(await agent.cli('status')).toMatchObject({ code: 3 });
    const gpus = await agent.cli('gpus', '--json');
    expect(JSON.parse(gpus.stdout)).toMatchObject({ present: null, reason: expect.stringContaining('did not answer') });
    expect(performance.now() - asked).toBeLessThan(5_000);
    expect((await healthOf(agent)).status).toBe('unknown');

    await smi.control({});
    await agent.untilReady([0, 1]);
  });

  it('leaves running instances alone', async () => {
    const { agent, smi } = await startWithCards({});
    await agent.untilReady([0, 1]);
    const pids = await pidsOf(agent);
    await smi.control({ mode: 'hang' });
    const hold = await untilHeld(agent, 'machine', 'GPU_QUERY_FAILED');
    expect(hold.help).toContain('running instances are left alone');
    const health = await agent.get('/health/comfyui');
    expect(health.status).toBe(200);
    expect(health.body).toMatchObject({ status: 'degraded', capacity: '2/2' });
    expect((await agent.get('/health/comfyui/instances/1')).status).toBe(200);
    expect(await pidsOf(agent)).toEqual(pids);
    expect(await agent.cli('status')).toMatchObject({ code: 0 });
    expect(await agent.cli('restart', '1')).toMatchObject({ code: 0 });
  });
});

describe('a machine without a driver', () => {
  it('says so, with what to do', async () => {
    const agent = await startAgent({ gpus: 1, config: { gpu: { mode: 'actual', mockCount: null } } });
    const hold = await untilHeld(agent, 'machine', 'NO_GPU');
    expect(hold).toMatchObject({ reason: 'this machine has no NVIDIA driver', help: expect.stringContaining('COMFYUI_CPU_ONLY=1') });
    expect((await agent.get('/health/comfyui/instances/0')).status).toBe(404);
    expect((await agent.get('/ready')).status).toBe(503);
    expect((await agent.get('/health')).status).toBe(200);
  });
});
