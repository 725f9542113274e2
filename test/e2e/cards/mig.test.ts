import { cp, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { GpusDocument, StatusDocument } from '../../../src/domain/agent.ts';
import { startAgent, stopAgents, type TestAgent } from '../../support/agent/agent.ts';
import { type DriverCards, driverCards } from '../../support/agent/cards.ts';
import { sendPrompts } from '../../support/agent/prompts.ts';
import { eventually } from '../../support/eventually.ts';

/** A card that is divided into two MIG devices beside one that is whole. */

const FIXTURES = resolve(import.meta.dirname, '../../fixtures/nvidia-smi');
const SET = '535-a100-mig';
const DIVIDED = 'GPU-5d5ba0d6-d33d-2b2c-524d-9e3d8d2b8a77';
const WHOLE = 'GPU-0b8e7a2f-7f6d-3c0d-83a5-1a2b3c4d5e6f';
const [PART_0, PART_1] = ['MIG-c6d4f1ef-42e4-5de3-91c7-45d71c87eb3f', 'MIG-cba663e8-9bed-5b25-b243-5985ef7c9beb'];

let sets: string;
let cards: DriverCards;
let agent: TestAgent;

/** As recorded, but for the processes, which are of nobody here, and the parts that are left out. */
async function driverLists(parts: readonly string[]): Promise<void> {
  const text = await readFile(join(FIXTURES, `${SET}.txt`), 'utf8');
  const lines = text.split('\n').filter((line) => !line.includes('@PID@') && !line.includes('4194000'));
  const left = lines.filter((line) => !/^\s+MIG /.test(line) || parts.some((part) => line.includes(part)));
  await writeFile(join(sets, `${SET}.txt`), left.join('\n'));
}

const start = async (mig: 'first' | 'all', root?: string): Promise<TestAgent> =>
  startAgent({
    cards,
    config: { gpu: { mig, periodMs: 1_000, queryTimeoutMs: 10_000 } },
    ...(root === undefined ? {} : { root, firstPort: agent.firstPort }),
  });

const untilCapacity = (capacity: string): Promise<unknown> =>
  eventually(
    `the capacity is ${capacity}`,
    async () => {
      const { health } = await agent.json<StatusDocument>('status');
      if (health.capacity !== capacity) throw new Error(`${health.capacity}: ${health.reasons.join('; ')}\n${agent.output()}`);
      return true;
    },
    60_000,
  );

/** Slot, device and port of each instance. */
const places = async (): Promise<string[]> =>
  (await agent.json<StatusDocument>('status')).health.instances.map(
    ({ gpu, uuid, port }) => `${gpu} ${uuid} ${(port ?? 0) - agent.firstPort}`,
  );
const listed = async (): Promise<GpusDocument['gpus']> => (await agent.json<GpusDocument>('gpus')).gpus;

/** What CUDA is told in each process. */
async function pins(): Promise<string[]> {
  const { health } = await agent.json<StatusDocument>('status');
  const environments = await Promise.all(health.instances.map(({ pid }) => readFile(`/proc/${pid}/environ`, 'utf8')));
  return environments.map((text) => /(?:^|\0)CUDA_VISIBLE_DEVICES=([^\0]*)/.exec(text)?.[1] ?? 'none');
}

beforeEach(async () => {
  sets = await mkdtemp(join(tmpdir(), 'agent-mig-'));
  await cp(FIXTURES, sets, { recursive: true });
  await driverLists([PART_0, PART_1]);
  cards = await driverCards(2, { set: SET, sets });
});
afterEach(async () => {
  await stopAgents();
  await rm(sets, { recursive: true, force: true });
});

describe('gpu.mig', () => {
  it('first: one instance for the divided card; the device that nobody uses is listed', async () => {
    agent = await start('first');
    await untilCapacity('2/2');
    expect(await pins()).toEqual([PART_0, WHOLE]);
    const rows = await listed();
    expect(rows.map(({ uuid, instance }) => `${uuid} ${instance}`)).toEqual([
      `${DIVIDED} comfyui-gpu0`,
      `${PART_1} null`,
      `${WHOLE} comfyui-gpu1`,
    ]);
    const { stdout } = await agent.cli('gpus');
    expect(stdout).toMatch(/^ *0:1 +NVIDIA A100.* MIG 3g\.20gb/m);
    expect(stdout).toMatch(/gpu 0:1 +not used: gpu\.mig is first/);
  });

  it('all: one for each device, each with its slot, port and folder, over restarts, a switch, and the loss of one', async () => {
    agent = await start('all');
    await untilCapacity('3/3');
    expect(await pins()).toEqual([PART_0, WHOLE, PART_1]);
    const before = await places();
    expect(before).toEqual([`0 ${DIVIDED} 0`, `1 ${WHOLE} 1`, `2 ${PART_1} 2`]);
    const urls = [0, 1, 2].map((gpu) => `http://127.0.0.1:${agent.firstPort + gpu}`);
    const prompts = sendPrompts(agent.root, () => urls);
    await eventually('prompts run', () => prompts.taken() >= 12, 30_000);
    const report = await prompts.end();
    expect(report).toEqual({ taken: report.taken, lost: [], repeated: [], forgotten: [] });

    await agent.kill();
    agent = await start('all', agent.root);
    await untilCapacity('3/3');
    expect(await places()).toEqual(before);

    await agent.stop();
    agent = await start('first', agent.root);
    await untilCapacity('2/2');
    expect(await places()).toEqual(before.slice(0, 2));
    await agent.stop();
    agent = await start('all', agent.root);
    await untilCapacity('3/3');
    expect(await places()).toEqual(before);

    await driverLists([PART_0]);
    await untilCapacity('2/3');
    const { stdout } = await agent.cli('status');
    expect(stdout.replaceAll(/\s+/g, ' ')).toMatch(new RegExp(`slot 2: its card ${PART_1}.*agent gpus accept`));
    expect((await agent.cli('gpus', 'accept')).code).toBe(0);
    await untilCapacity('2/2');
    expect(await places()).toEqual(before.slice(0, 2));
  });
});
