import { readFile, readlink } from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { GpusDocument, StatusDocument } from '../../../src/domain/agent.ts';
import type { ReadyDocument } from '../../../src/domain/health/health.ts';
import { startAgent, stopAgents, type TestAgent } from '../../support/agent/agent.ts';
import { type DriverCards, driverCards } from '../../support/agent/cards.ts';
import { eventually } from '../../support/eventually.ts';

/** What becomes of cards that are lost, replaced, dead or not ours, with a driver that is asked as on a real machine. */

let cards: DriverCards;
let agent: TestAgent;
afterEach(stopAgents);

const CONFIG = { gpu: { periodMs: 1_000, queryTimeoutMs: 10_000 }, health: { canary: { enabled: false } } };
/** Of the recorded sets of four and eight cards. */
const THIRD = 'GPU-c47a18d9-2e63-4fb1-8a07-3f95e6d0b2c8';

const start = async (root?: string, environment: Record<string, string> = {}): Promise<TestAgent> =>
  startAgent({ cards, environment, config: CONFIG, ...(root === undefined ? {} : { root, firstPort: agent.firstPort }) });
const status = (): Promise<StatusDocument> => agent.json<StatusDocument>('status');
const reasons = async (): Promise<string> => (await status()).health.reasons.join('\n');
const served = async (): Promise<string[]> =>
  (await status()).health.instances
    .filter(({ ready }) => ready)
    .map(({ gpu, uuid, port }) => `${gpu} ${uuid} ${(port ?? 0) - agent.firstPort}`);
const untilCapacity = (capacity: string): Promise<unknown> =>
  eventually(
    `the capacity is ${capacity}`,
    async () => {
      const { health } = await status();
      if (health.capacity !== capacity) throw new Error(`${health.capacity}: ${health.reasons.join('; ')}\n${agent.output()}`);
      return true;
    },
    60_000,
  );

describe('a card that is lost while the agent is down', () => {
  beforeEach(async () => {
    cards = await driverCards(8);
    agent = await start();
  });

  it('is told until the operator accepts it; the others keep slot, port and folders although the driver renumbers them', async () => {
    await untilCapacity('8/8');
    const before = await served();
    await agent.stop();
    await cards.smi.control({ missing: '3', renumber: 'yes' });
    agent = await start(agent.root);
    await untilCapacity('7/8');
    expect(await served()).toEqual(before.filter((line) => !line.includes(THIRD)));
    expect(await readlink(join(agent.root, 'comfyui_gpu4'))).toContain('gpu4');
    const { health } = await status();
    expect(health.status).toBe('degraded');
    const ready = (await agent.get('/ready')).body as ReadyDocument;
    const doctor = await agent.cli('doctor');
    const listed = await agent.cli('gpus');
    for (const told of [
      health.reasons.join('\n'),
      ready.reasons.join('\n'),
      doctor.stdout,
      listed.stdout,
      (await agent.cli('status')).stdout,
    ])
      expect(told.replaceAll(/\s+/g, ' ')).toMatch(new RegExp(`slot 3: its card ${THIRD}.*agent gpus accept`));
    expect(ready).toMatchObject({ ready: true, capacity: '7/8' });

    // Over TCP with a token only.
    expect((await agent.get('/v1/gpus/accept', { method: 'POST' })).status).toBe(401);
    const accepted = await agent.cli('gpus', 'accept');
    expect(accepted).toMatchObject({ code: 0 });
    expect(accepted.stdout).not.toContain(THIRD);
    await untilCapacity('7/7');
    expect(await served()).toEqual(before.filter((line) => !line.includes(THIRD)));
    expect((await agent.cli('wait', 'healthy', '--timeout', '30s')).code).toBe(0);
    expect((await agent.cli('gpus', 'accept')).code).toBe(5);
    expect(await readFile(join(agent.root, 'state/cards.json'), 'utf8')).not.toContain(THIRD);
  });
});

describe('a card that is replaced', () => {
  it('is told as one, and gets the slot when that is accepted', async () => {
    cards = await driverCards(4);
    agent = await start();
    await untilCapacity('4/4');
    await agent.stop();
    await cards.smi.control({ change: '3|uuid|GPU-11111111-2222-3333-4444-555555555555' });
    agent = await start(agent.root);
    await untilCapacity('3/4');
    // Nothing was started for a card that is not there.
    expect(agent.output()).not.toContain('type=action.start-instance target=instance 3');
    expect(await reasons()).toMatch(/slot 3 was GPU-c47a18d9\S* at 0000:e3:00, now GPU-11111111\S*; `agent gpus accept` gives it the slot/);
    const { gpus } = await agent.json<GpusDocument>('gpus');
    expect(gpus.find(({ uuid }) => uuid.startsWith('GPU-1111'))?.instance).toBeNull();
    expect((await agent.cli('gpus', 'accept')).code).toBe(0);
    await untilCapacity('4/4');
    expect((await served())[3]).toBe('3 GPU-11111111-2222-3333-4444-555555555555 3');
  });
});

describe('an nvidia-smi that says more than rows, or less', () => {
  it('a warning takes no card away and is told on the card that it names; a dead card at the start leaves the others', async () => {
    cards = await driverCards(4);
    const warning = 'WARNING: infoROM is corrupted at gpu 0000:AF:00.0';
    await cards.smi.control({ warning, rc: 14 });
    agent = await start();
    await untilCapacity('4/4');
    const { health } = await status();
    expect(health.status).toBe('degraded');
    expect(health.reasons).toEqual([`gpu 1: nvidia-smi: ${warning}`]);
    expect(health.instances.map(({ status }) => status)).toEqual(['healthy', 'degraded', 'healthy', 'healthy']);
    await agent.stop();

    const gone = 'Unable to determine the device handle for GPU3: 0000:E3:00.0: Unknown Error';
    await cards.smi.control({ dead: 3, gone });
    agent = await start(agent.root);
    await untilCapacity('3/4');
    expect(await served()).toHaveLength(3);
    expect(await reasons()).toContain(`slot 3: its card ${THIRD}`);
    expect((await agent.cli('doctor')).stdout.replaceAll(/\s+/g, ' ')).toContain('Unable to determine the device handle');
  });
});

describe('cards that the agent may not use', () => {
  it('are left alone and named; what is stopped on purpose has its reason', async () => {
    cards = await driverCards(4);
    agent = await startAgent({ cards, environment: { CUDA_VISIBLE_DEVICES: `2,${THIRD.slice(0, 12)}` }, config: CONFIG });
    await untilCapacity('2/2');
    expect((await served()).map((line) => line.replace(/ \S+/, ''))).toEqual(['2 2', '3 3']);
    expect((await status()).health.status).toBe('healthy');
    expect((await agent.cli('gpus')).stdout).toContain(`CUDA_VISIBLE_DEVICES=2,${THIRD.slice(0, 12)} leaves it out`);
    expect((await agent.cli('config', 'show')).stdout).toContain('CUDA_VISIBLE_DEVICES');
    expect((await agent.cli('stop', '3')).code).toBe(0);
    await untilCapacity('1/2');
    expect(await reasons()).toBe('gpu 3: stopped on purpose; `agent start 3` starts it');
    await agent.stop();

    agent = await start(agent.root, { CUDA_VISIBLE_DEVICES: '' });
    await eventually(
      'it says why',
      async () => expect(await reasons()).toContain('no card may be used: CUDA_VISIBLE_DEVICES= names no card'),
      30_000,
    );
    expect((await status()).health.instances).toEqual([]);
  });
});
