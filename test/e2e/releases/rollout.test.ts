import { readFile, readlink } from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { ReleasesDocument } from '../../../src/domain/agent.ts';
import type { DiscoveryDocument } from '../../../src/domain/instances/discovery.ts';
import type { OperationDocument } from '../../../src/domain/operation.ts';
import { newRoot, startAgent, stopAgents, type TestAgent } from '../../support/agent/agent.ts';
import { type CardKind, cardsOf } from '../../support/agent/cards.ts';
import { sendPrompts } from '../../support/agent/prompts.ts';
import { healthOf, pidsOf, untilHealthy, untilHeld } from '../../support/agent/scene.ts';
import { overSocket } from '../../support/agent/socket.ts';
import { eventually } from '../../support/eventually.ts';
import type { Origin } from '../../support/git/origin.ts';
import { createPack, loads, nodesFile, packOf } from '../../support/git/pack-origins.ts';

/** Updates of a machine with two instances: workers always have one to go to, and what does not work goes back. */

/** Passes the trial start, and ends every instance. */
const ENDS_INSTANCES = loads(
  ['import os', 'if os.environ.get("AGENT_INSTANCE", "").startswith("comfyui-gpu"):', '    os._exit(3)'].join('\n'),
);

let origins: string;
let pack: Origin;
beforeEach(async () => {
  origins = await newRoot();
  pack = await createPack(origins, 'pack', { 'which.txt': '1' });
});
afterEach(stopAgents);

async function start(kind: CardKind = 'fake driver'): Promise<TestAgent> {
  const agent = await startAgent({
    cards: await cardsOf(kind),
    environment: { SIM_JOB_HANG_SECONDS: '0.3' },
    files: { 'shared/config_nodes.json': nodesFile({ name: 'Pack', url: pack.url }) },
  });
  await agent.untilReady([0, 1]);
  return agent;
}

const current = async (agent: TestAgent): Promise<string> => (await readlink(join(agent.root, 'current'))).split('/').at(-1) ?? '';
const lockOf = (agent: TestAgent) => readFile(join(agent.root, 'agent.lock.json'), 'utf8');
const releasesOf = (agent: TestAgent) => agent.json<ReleasesDocument>('releases');

const operationOf = async (agent: TestAgent, id: string) =>
  (await overSocket(agent.root, 'GET', `/v1/operations/${id}`)).body as OperationDocument;

const untilBothRun = (agent: TestAgent, release: string): Promise<boolean> =>
  eventually(
    `both instances are ready on ${release}`,
    async () => {
      const both = await Promise.all([agent.instance(0), agent.instance(1)]);
      if (both.every((instance) => instance.ready && instance.release === release)) return true;
      throw new Error(`${JSON.stringify(both.map((each) => [each.status, each.hold, each.release]))}\n${agent.output().slice(-4_000)}`);
    },
    60_000,
  );

const offeredBy = async (agent: TestAgent): Promise<readonly string[]> =>
  ((await agent.get('/v1/discovery')).body as DiscoveryDocument).instances.flatMap(({ ready, url }) => (ready ? [url] : []));

/** Asks meanwhile as a load balancer and as a worker does, and goes to the instances that it is sent to. */
async function watched<T>(agent: TestAgent, work: () => Promise<T>): Promise<T> {
  const violations: string[] = [];
  let looks = 0;
  let over = false;
  const look = async (): Promise<void> => {
    const [ready, discovery] = await Promise.all([agent.get('/ready'), agent.get('/v1/discovery')]);
    const offered = (discovery.body as DiscoveryDocument).instances.filter((instance) => instance.ready);
    if (ready.status !== 200) violations.push(`/ready answered ${ready.status}: ${JSON.stringify(ready.body)}`);
    if (offered.length === 0) return void violations.push(`nobody is offered: ${JSON.stringify(discovery.body)}`);
    const answers = await Promise.all(
      offered.map(({ url }) =>
        fetch(`${url}/prompt`).then(
          (answer) => answer.ok,
          () => false,
        ),
      ),
    );
    if (!answers.includes(true)) violations.push(`none of those that were offered answers: ${JSON.stringify(offered)}`);
  };
  const looking = (async () => {
    for (; !over; looks++) {
      await look();
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
  })();
  try {
    return await work();
  } finally {
    over = true;
    await looking;
    expect(violations).toEqual([]);
    expect(looks).toBeGreaterThan(20);
  }
}

describe('an update of a node pack', () => {
  it.each(['mock', 'fake driver'] as const)(
    'with %s cards moves both instances, one after the other: one answers at every moment, and what they take is done',
    async (kind) => {
      const agent = await start(kind);
      const first = await current(agent);
      const pids = await pidsOf(agent);
      const commit = await pack.commit({ 'which.txt': '2' });
      const prompts = sendPrompts(agent.root, () => offeredBy(agent));
      expect(await watched(agent, () => agent.cli('update', '--all'))).toMatchObject({ code: 0 });
      const { taken, lost, repeated } = await prompts.end();
      expect({ lost, repeated }).toEqual({ lost: [], repeated: [] });
      expect(taken).toBeGreaterThan(4);
      const second = await current(agent);
      expect(second).not.toBe(first);
      await untilBothRun(agent, second);
      expect(await packOf(agent, 'Pack')).toMatchObject({ commit, state: 'loaded' });
      for (const pid of await pidsOf(agent)) expect(pids).not.toContain(pid);
      expect(await releasesOf(agent)).toMatchObject({
        current: second,
        releases: [
          { id: first, proved: true, failed: null },
          { id: second, proved: true, failed: null },
        ],
      });
      await untilHealthy(agent);
    },
  );

  it('whose instances do not come up goes back by itself, and both serve the old release', async () => {
    const agent = await start();
    const first = await current(agent);
    const lock = await lockOf(agent);
    const [, second] = await pidsOf(agent);
    await pack.commit({ '__init__.py': ENDS_INSTANCES });
    const prompts = sendPrompts(agent.root, () => offeredBy(agent));
    const result = await watched(agent, () => agent.cli('update', '--all'));
    expect(await prompts.end()).toMatchObject({ lost: [], repeated: [] });
    expect(result.code).not.toBe(0);
    expect(result.stderr).toMatch(/was taken back: gpu 0 ended \d+ times/);
    expect(await current(agent)).toBe(first);
    expect(await lockOf(agent)).toBe(lock);
    await untilBothRun(agent, first);
    // It was never its turn.
    expect((await pidsOf(agent))[1]).toBe(second);
    const { releases } = await releasesOf(agent);
    expect(releases.find((release) => release.id !== first)).toMatchObject({
      complete: true,
      proved: false,
      failed: { code: 'ROLLOUT_FAILED', reason: expect.stringContaining('gpu 0') },
    });
    await untilHeld(agent, 'installation', 'ROLLED_BACK');

    // What is corrected is moved to.
    const commit = await pack.commit({ '__init__.py': loads() });
    expect(await agent.cli('update', '--all')).toMatchObject({ code: 0 });
    expect(await packOf(agent, 'Pack')).toMatchObject({ commit });
    await untilBothRun(agent, await current(agent));
    await untilHealthy(agent);
  });
});

describe('agent rollback', () => {
  it('switches at once, moves both instances back, and stays until an installation is asked for', async () => {
    const agent = await start();
    const first = await current(agent);
    const lock = await lockOf(agent);
    await pack.commit({ 'which.txt': '2' });
    expect(await agent.cli('update', '--all')).toMatchObject({ code: 0 });
    const second = await current(agent);
    expect(second).not.toBe(first);

    await watched(agent, async () => {
      const asked = performance.now();
      const answer = await overSocket(agent.root, 'POST', '/v1/operations', { kind: 'rollback' });
      expect(answer.status).toBe(202);
      await eventually('current is switched', async () => (await current(agent)) === first, 5_000);
      expect(performance.now() - asked).toBeLessThan(5_000);
      expect(await lockOf(agent)).toBe(lock);
      const { id } = answer.body as OperationDocument;
      await eventually('the rollback has ended', async () => (await operationOf(agent, id)).state !== 'running', 60_000);
      expect(await operationOf(agent, id)).toMatchObject({ state: 'succeeded' });
    });
    await untilBothRun(agent, first);
    expect((await untilHeld(agent, 'installation', 'ROLLED_BACK')).reason).toContain(first);

    expect(await agent.cli('install')).toMatchObject({ code: 0 });
    await untilHealthy(agent);
    expect((await healthOf(agent)).holds).toEqual([]);
    expect(await agent.cli('rollback', second)).toMatchObject({ code: 0 });
    await untilBothRun(agent, second);
  });

  it('refuses a release that is not there, with the list', async () => {
    const agent = await start();
    const result = await agent.cli('rollback', 'nowhere');
    expect(result.code).not.toBe(0);
    expect(result.stderr).toMatch(/RELEASE_UNUSABLE/);
    expect(result.stderr).toMatch(/there is no release nowhere/);
    expect(result.stderr).toMatch(/there is no other proved release/);
  });
});
