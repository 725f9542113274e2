import type { ChildProcess } from 'node:child_process';
import { afterEach, describe, expect, it } from 'vitest';
import { newRoot, startAgent, stopAgents, type TestAgent } from '../../support/agent/agent.ts';
import { type Cards, cardsOf, driverCards } from '../../support/agent/cards.ts';
import { type PromptReport, sendPrompts } from '../../support/agent/prompts.ts';
import { pidsOf, untilHealthy, untilHeld, untilInstance } from '../../support/agent/scene.ts';
import { eventually } from '../../support/eventually.ts';
import { readJournal } from '../../support/faults/journal.ts';
import type { FakeNvidiaSmi, Switches } from '../../support/hardware/nvidia-smi.ts';
import { endExternalPm2, startExternalPm2 } from '../../support/pm2/external.ts';

/** The agent ends, however it ends, and comes back: what its instances do is none of its business. */

const daemons: ChildProcess[] = [];
afterEach(async () => {
  await stopAgents();
  for (const daemon of daemons.splice(0)) await endExternalPm2(daemon);
});

type Ending = 'SIGTERM' | 'SIGKILL';

/** An agent that is ended and started again, on the same root with the same cards. */
interface Lab {
  readonly agent: TestAgent;
  /** Events since all was ready for the first time. */
  readonly journal: () => ReturnType<typeof readJournal>;
  readonly urls: readonly string[];
  end(how: Ending): Promise<void>;
  start(): Promise<void>;
}

async function aLab(cards: Cards, hosting: 'external' | 'owned'): Promise<Lab> {
  const root = await newRoot();
  if (hosting === 'external') daemons.push(await startExternalPm2(root));
  const options = {
    root,
    cards,
    environment: { SIM_JOB_HANG_SECONDS: '0.5', AGENT_PM2: hosting },
    config: { gpu: { periodMs: 1_000 } },
  };
  let agent = await startAgent(options);
  await agent.untilReady();
  await untilHealthy(agent);
  const { firstPort } = agent;
  const last = readJournal(root).at(-1)?.id ?? 0;
  return {
    get agent() {
      return agent;
    },
    journal: () => readJournal(root, last),
    urls: Array.from({ length: cards.count }, (_, gpu) => `http://127.0.0.1:${firstPort + gpu}`),
    end: async (how) => {
      if (how === 'SIGTERM') expect(await agent.stop()).toBe(0);
      else await agent.kill();
    },
    start: async () => {
      agent = await startAgent({ ...options, firstPort });
    },
  };
}

/** Waits for more readings of the cards: what two of them agree on is decided after three. */
async function readings(smi: FakeNvidiaSmi | null, count = 3): Promise<void> {
  if (smi === null) return;
  const asked = async (): Promise<number> => (await smi.calls()).filter((call) => call.includes('--query-compute-apps')).length;
  const before = await asked();
  await eventually(`${count} more readings of the cards`, async () => (await asked()) >= before + count, 30_000);
}

/** What was done to instances, by the journal; of those that `isMeant`. */
const deeds = (lab: Lab, isMeant: (target: string) => boolean = () => true): readonly string[] =>
  lab
    .journal()
    .filter(({ type, target }) => /^(action\.\w+-(instance|process)|instance\.exit)$/.test(type) && isMeant(target))
    .map(({ target, message }) => `${target}: ${message}`);

const all = (report: PromptReport) => ({ taken: report.taken, lost: [], repeated: [], forgotten: [] });

describe('an agent whose PM2 is another unit', () => {
  it.each([
    ['mock', 2, 2],
    ['fake driver', 2, 4],
    ['fake driver', 8, 2],
  ] as const)(
    'ends by SIGTERM or SIGKILL: with %s cards none of %i instances does in %i restarts, nor is a prompt lost',
    async (kind, count, restarts) => {
      const cards = await cardsOf(kind, count);
      const lab = await aLab(cards, 'external');
      const pids = await pidsOf(lab.agent);
      const prompts = sendPrompts(lab.agent.root, () => lab.urls);
      for (let turn = 0; turn < restarts; turn++) {
        await eventually('prompts run', () => prompts.taken() >= 2 * count);
        await lab.end(turn % 2 === 0 ? 'SIGTERM' : 'SIGKILL');
        await lab.start();
        await lab.agent.untilReady();
        await readings(cards.smi, 1);
        expect(await pidsOf(lab.agent)).toEqual(pids);
      }
      await readings(cards.smi);
      expect(await pidsOf(lab.agent)).toEqual(pids);
      const report = await prompts.end();
      expect(report).toEqual(all(report));
      expect(deeds(lab)).toEqual([]);
      // Nor does one stop taking work for a moment.
      expect(lab.journal().flatMap(({ type, message }) => (type === 'hold.set' ? [message] : []))).toEqual([]);
      await untilHealthy(lab.agent);
    },
  );
});

describe('an agent that has started PM2 itself', () => {
  it('ends by SIGKILL: no instance does, nor is a prompt lost', async () => {
    const cards = await driverCards();
    const lab = await aLab(cards, 'owned');
    const pids = await pidsOf(lab.agent);
    const prompts = sendPrompts(lab.agent.root, () => lab.urls);
    for (let turn = 1; turn <= 2; turn++) {
      await eventually('more prompts run', () => prompts.taken() >= 4 * turn);
      await lab.end('SIGKILL');
      await lab.start();
      await lab.agent.untilReady();
      await readings(cards.smi);
      expect(await pidsOf(lab.agent)).toEqual(pids);
    }
    const report = await prompts.end();
    expect(report).toEqual(all(report));
    expect(deeds(lab)).toEqual([]);
  });

  it('ends by SIGTERM after the prompts that its instances have, and the next one brings all back', async () => {
    const lab = await aLab(await driverCards(), 'owned');
    const { root } = lab.agent;
    let over = false;
    const prompts = sendPrompts(root, () => (over ? [] : lab.urls));
    await eventually('each instance has what it can hold', () => prompts.taken() >= 4);
    over = true;
    await lab.end('SIGTERM');
    await lab.start();
    await lab.agent.untilReady();
    expect(await prompts.end()).toMatchObject({ lost: [], repeated: [] });
  });
});

describe('a driver that is in trouble when the agent starts', () => {
  const TROUBLES: readonly (readonly [string, Switches, code: string | null])[] = [
    ['answers late', { delay: 0.5 }, null],
    ['hangs', { mode: 'hang' }, 'GPU_QUERY_FAILED'],
    ['fails', { set: 'version-mismatch' }, 'GPU_QUERY_FAILED'],
    ['lists no card', { set: 'no-devices' }, 'GPU_QUERY_FAILED'],
  ];
  it.each(TROUBLES)('and %s is no reason to end an instance', async (_, switches, code) => {
    const cards = await driverCards();
    const lab = await aLab(cards, 'external');
    const pids = await pidsOf(lab.agent);
    const prompts = sendPrompts(lab.agent.root, () => lab.urls);
    await lab.end('SIGKILL');
    await cards.smi.control(switches);
    await lab.start();
    if (code !== null) await untilHeld(lab.agent, 'machine', code);
    await readings(cards.smi);
    await cards.smi.control({});
    await lab.agent.untilReady([0, 1]);
    await readings(cards.smi);
    expect(await pidsOf(lab.agent)).toEqual(pids);
    const report = await prompts.end();
    expect(report).toEqual(all(report));
    expect(deeds(lab)).toEqual([]);
    await untilHealthy(lab.agent);
  });
});

describe('eight cards of which one is lost', () => {
  const LOST = 3;
  const isOther = (target: string): boolean => !new RegExp(`${LOST}$`).test(target);

  it('before the agent ends and comes back: the other seven go on', async () => {
    const cards = await driverCards(8);
    const lab = await aLab(cards, 'external');
    const others = (pids: readonly (number | null)[]) => pids.filter((pid) => pid !== lost);
    const pids = await pidsOf(lab.agent);
    const lost = pids[LOST] ?? null;
    const prompts = sendPrompts(lab.agent.root, () => lab.urls.filter((_, gpu) => gpu !== LOST));
    await cards.smi.control({ missing: LOST, renumber: 'yes' });
    await untilInstance(lab.agent, LOST, 'not ready any more', ({ ready }) => !ready);
    for (const how of ['SIGTERM', 'SIGKILL'] as const) {
      await lab.end(how);
      await lab.start();
      await lab.agent.untilReady([0, 1, 2, 4, 5, 6, 7]);
      await readings(cards.smi);
      expect(others(await pidsOf(lab.agent)).filter((pid) => pids.includes(pid))).toEqual(others(pids));
    }
    const report = await prompts.end();
    expect(report).toEqual(all(report));
    expect(deeds(lab, isOther)).toEqual([]);
  });
});
