import { writeFile } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { afterEach, describe, expect, it } from 'vitest';
import type { DoctorDocument } from '../../src/domain/doctor/doctor.ts';
import { type AgentOptions, startAgent, stopAgents, type TestAgent } from '../support/agent/agent.ts';
import { driverCards } from '../support/agent/cards.ts';
import { healthOf, pidsOf, untilHeld } from '../support/agent/scene.ts';
import { eventually } from '../support/eventually.ts';
import type { FakeNvidiaSmi, Switches } from '../support/hardware/nvidia-smi.ts';
import { inventedPciBusId, mayUseKmsg, sayToKernel } from '../support/kernel/log.ts';

/**
 * Faults of cards, injected from outside: an nvidia-smi that plays recorded answers, and real lines in the kernel log of this
 * machine. Two cards; the second serves all the time.
 */

afterEach(stopAgents);

/** Readings come every second here; the machine may be busy. */
const SOON_MS = 45_000;

async function startWithCards(
  switches: Switches = {},
  options: AgentOptions = {},
): Promise<{ agent: TestAgent; smi: FakeNvidiaSmi; pids: readonly (number | null)[] }> {
  const cards = await driverCards(2, switches);
  const agent = await startAgent({
    ...options,
    cards,
    config: { gpu: { periodMs: 1_000 }, health: { quarantine: { coolDownMs: 2_000 } } },
  });
  await agent.untilReady([0, 1]);
  return { agent, smi: cards.smi, pids: await pidsOf(agent) };
}

const faultsOf = async (agent: TestAgent, gpu: number): Promise<string[]> => (await agent.instance(gpu)).verdicts.map(({ fault }) => fault);

async function untilQuarantined(agent: TestAgent, gpu: number, reason: RegExp): Promise<void> {
  await eventually(`GPU ${gpu} is quarantined`, async () => (await agent.instance(gpu)).status === 'quarantined', SOON_MS);
  expect((await untilHeld(agent, `instance ${gpu}`, 'QUARANTINED')).reason).toMatch(reason);
}

/** The other card: same process, ready. */
async function expectUntouched(agent: TestAgent, gpu: number, pids: readonly (number | null)[]): Promise<void> {
  expect(await agent.instance(gpu)).toMatchObject({ ready: true, pid: pids[gpu], status: 'healthy' });
}

const findings = async (agent: TestAgent): Promise<string[]> =>
  (JSON.parse((await agent.cli('doctor', '--json')).stdout) as DoctorDocument).findings
    .filter(({ check, status }) => check === 'gpu faults' && status !== 'ok')
    .map(({ status, message }) => `${status}: ${message}`);

describe('a card that vanishes', () => {
  it('takes its instance out, and the other keeps its card, its number and its process', async () => {
    const { agent, smi, pids } = await startWithCards();
    // What is left is numbered anew.
    await smi.control({ missing: 0, change: '1|index|0' });
    await eventually('it is not ready', async () => !(await agent.instance(0)).ready, 20_000);
    expect(await faultsOf(agent, 0)).toEqual(['card-missing']);
    expect((await agent.get('/health/comfyui')).status).toBe(200);
    await untilQuarantined(agent, 0, /GPU 0 at 0000:3b:00 is gone/);
    expect(await agent.instance(0)).toMatchObject({ uuid: 'GPU-2e9c4d1a-7b35-48f6-9c02-a1b2c3d4e5f6', pid: null });
    await expectUntouched(agent, 1, pids);
    expect((await findings(agent)).join('\n')).toMatch(/fail: slot 0: its card GPU-2e9c4d1a-\S+ \(NVIDIA L40S at 0000:3b:00\) is missing/);
    expect((await agent.cli('gpus')).stdout).toMatch(/0 .*missing/);
    const metrics = String((await agent.get('/metrics')).body);
    expect(metrics).toMatch(/comfylet_gpu_up\{gpu="0",[^}]*\} 0/);
    expect(metrics).toMatch(/comfylet_gpu_up\{gpu="1",[^}]*\} 1/);
    await smi.control({});
    await eventually('the fault is gone', async () => (await findings(agent)).length === 0, SOON_MS);
    // A canary that passes sets it free.
    await eventually('it is back', async () => (await agent.instance(0)).ready, SOON_MS);
    await expectUntouched(agent, 1, pids);
  });
});

describe('a driver that is gone', () => {
  it('is held, nothing is restarted and nothing quarantined, whichever way it goes', async () => {
    const { agent, smi, pids } = await startWithCards();
    const ways = [
      [{ mode: 'hang' }, /did not answer/],
      [{ set: 'no-devices' }, /lists no card any more/],
      [{ set: 'driver-broken' }, /cannot reach the NVIDIA driver/],
    ] as const;
    for (const [fault, reason] of ways) {
      await smi.control(fault);
      expect((await untilHeld(agent, 'machine', 'GPU_QUERY_FAILED')).reason).toMatch(reason);
      const health = await healthOf(agent);
      expect(health.verdicts).toMatchObject([{ fault: 'driver-gone', remedy: 'none' }]);
      expect(health).toMatchObject({ status: 'degraded', capacity: '2/2' });
      expect(await pidsOf(agent)).toEqual(pids);
      await smi.control({});
      await eventually('it is whole', async () => (await healthOf(agent)).status === 'healthy', SOON_MS);
    }
    expect(await pidsOf(agent)).toEqual(pids);
  });
});

const noKmsg = mayUseKmsg() ? '' : ' (skipped: /dev/kmsg may not be written here)';
describe.skipIf(noKmsg !== '')(`real lines in the kernel log${noKmsg}`, () => {
  it('a card that falls off the bus is quarantined; a line of no card of ours is nothing', async () => {
    const card = inventedPciBusId();
    const { agent, pids } = await startWithCards({ change: `0|pci.bus_id|${card.smi};0|gpu_recovery_action|[N/A]` });
    sayToKernel(`NVRM: Xid (${inventedPciBusId().log}): 79, pid=1, name=python3, GPU has fallen off the bus.`);
    await eventually('the address is known', async () => (await agent.get('/metrics')).status === 200);
    expect(await faultsOf(agent, 0)).toEqual([]);
    sayToKernel(`NVRM: Xid (${card.log}): 79, pid=1, name=python3, GPU has fallen off the bus.`);
    await untilQuarantined(agent, 0, /Xid 79 \(the GPU has fallen off the bus\) on GPU 0/);
    await expectUntouched(agent, 1, pids);
    expect(await findings(agent)).toMatchObject([expect.stringContaining('fail: Xid 79')]);
    expect(String((await agent.get('/metrics')).body)).toMatch(/comfylet_gpu_xid_total\{gpu="0",[^}]*xid="79"\} 1/);
  });

  it('an Xid of the process restarts that instance once, and no other', async () => {
    const card = inventedPciBusId();
    const { agent, pids } = await startWithCards({ change: `0|pci.bus_id|${card.smi}` });
    // Only a card whose facts were gathered with its process can be judged.
    await eventually(
      'the process was looked at',
      async () => {
        sayToKernel(`NVRM: Xid (${card.log}): 31, pid=${pids[0]}, name=python3, Ch 00000008, MMU Fault`);
        return (await agent.instance(0)).pid !== pids[0];
      },
      SOON_MS,
    );
    await eventually('it is back', async () => (await agent.instance(0)).ready, SOON_MS);
    await expectUntouched(agent, 1, pids);
  });
});

describe('what the sensors say', () => {
  it('memory without spare rows quarantines the card; heat and brake are told, and the instance serves on', async () => {
    const { agent, smi, pids } = await startWithCards();
    await smi.control({ change: '1|clocks_event_reasons.active|0x00000000000000E8;1|temperature.gpu|94' });
    await eventually('heat and brake are told', async () => (await faultsOf(agent, 1)).join() === 'card-hot,card-power', 20_000);
    expect(await agent.instance(1)).toMatchObject({ ready: true, status: 'degraded', pid: pids[1] });
    expect((await findings(agent)).map((line) => line.slice(0, 5))).toEqual(['warn:', 'warn:']);
    await smi.control({ change: '0|remapped_rows.failure|Yes;0|ecc.errors.uncorrected.volatile.total|7' });
    await untilQuarantined(agent, 0, /no spare rows left/);
    expect(await agent.instance(1)).toMatchObject({ ready: true, pid: pids[1] });
    expect(await findings(agent)).toMatchObject([expect.stringContaining('fail: GPU 0 at 0000:3b:00 has bad memory')]);
  });

  it('a card that the driver wants reset is out until the driver says otherwise', async () => {
    const { agent, smi, pids } = await startWithCards();
    await smi.control({ change: '1|gpu_recovery_action|Reset' });
    await untilQuarantined(agent, 1, /the driver asks for a reset of the card/);
    await expectUntouched(agent, 0, pids);
  });
});

describe('the wrong card', () => {
  it('set by a template is tried three times, not for ever; the other instance serves', async () => {
    const cards = await driverCards();
    const template = join(cards.smi.directory, 'template.js');
    await writeFile(
      template,
      `import { toPm2Entry as usual } from '${resolve(import.meta.dirname, '../../ecosystem.template.js')}';
export const toPm2Entry = (launch) => {
  const entry = usual(launch);
  return launch.gpu === 1 ? entry : { ...entry, env: { ...entry.env, CUDA_VISIBLE_DEVICES: 'GPU-8f1d2c3b-4a59-4768-8796-b5c4d3e2f1a0' } };
};
`,
    );
    const agent = await startAgent({ cards, config: { pm2: { template }, gpu: { periodMs: 1_000 } } });
    await agent.untilReady([1]);
    const pids = await pidsOf(agent);
    await eventually('it is quarantined', async () => (await agent.instance(0)).status === 'quarantined', 90_000);
    expect((await untilHeld(agent, 'instance 0', 'QUARANTINED')).reason).toMatch(/sees card GPU-8f1d2c3b.* and not GPU-2e9c4d1a/);
    await expectUntouched(agent, 1, pids);
  });

  it('an instance that computes on the card of another is taken out', async () => {
    const { agent, smi, pids } = await startWithCards();
    await smi.control({ set: 'two-l40s-busy', pid: pids[0] ?? 0 });
    await untilQuarantined(agent, 0, new RegExp(`pid ${pids[0]} of GPU 0 at 0000:3b:00 computes on another card: GPU-8f1d2c3b`));
    await expectUntouched(agent, 1, pids);
  });
});
