import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import type { InstallationDocument } from '../../src/domain/health/health.ts';
import { known } from '../../src/domain/observed.ts';
import { Intents } from '../../src/domain/state/state.ts';
import { installationWish } from '../../src/plan/installation/installation.ts';
import { newRoot, startAgent, stopAgents, type TestAgent } from '../support/agent/agent.ts';
import { replaceFile } from '../support/agent/scene.ts';
import { overSocket } from '../support/agent/socket.ts';
import { eventually } from '../support/eventually.ts';
import { createKillLab, type KillLab, type Wanted } from '../support/kills/lab.ts';
import { killDuringInstall, planName, plansOf, seededRandom } from '../support/kills/round.ts';
import { currentRelease, leftovers, locks, orphans } from '../support/kills/whole-root.ts';

/**
 * SIGKILL in the middle of an installation, again and again on one root: at every step, at random times, the agent, PM2, git, uv
 * and all of them. KILLS sets how often, KILLS_SEED repeats a run.
 */

const KILLS = Number(process.env['KILLS'] ?? '30');
const SEED = Number(process.env['KILLS_SEED'] ?? Date.now() % 1_000_000);
/** A little longer than an installation takes here, so that some kills come after its end. */
const LONGEST_MS = 2_500;
const plans = plansOf(KILLS, seededRandom(SEED), LONGEST_MS);

let lab: KillLab;
let skipped: string | null = null;
let agent: TestAgent;
/** The last round ended well: its root can be gone on with. */
let sound = false;
const tally = { rounds: 0, survived: 0, missed: 0, old: 0, resumed: 0 };

beforeAll(async () => {
  console.log(`${KILLS} kills, KILLS_SEED=${SEED}`);
  const created = await createKillLab();
  if ('skipped' in created) skipped = created.skipped;
  else lab = created;
});
afterEach(async () => {
  if (!sound) await stopAgents();
});
afterAll(async () => {
  await stopAgents();
  if (skipped === null) await lab.close();
  console.log(
    `survived ${tally.survived} of ${tally.rounds}; the old release served on after ${tally.old}, ${tally.resumed} were gone on with by the next agent, ${tally.missed} came too late`,
  );
});

const options = () => ({ gpus: 1, config: lab.config, environment: lab.environment });
const nodesOf = (root: string): string => `${root}/shared/config_nodes.json`;

async function startOn(root: string, firstPort?: number): Promise<TestAgent> {
  return startAgent({ ...options(), root, ...(firstPort === undefined ? {} : { firstPort }) });
}

/** An agent on a sound root, with a release in place. */
async function ensureAgent(): Promise<void> {
  if (sound) return;
  const root = await newRoot();
  await replaceFile(nodesOf(root), lab.wanted().nodes);
  agent = await startOn(root);
  await agent.untilReady([0]);
}

/** No installation runs, and the instance serves the release that is current. */
async function settled(): Promise<InstallationDocument> {
  return eventually(
    'the agent has settled',
    async () => {
      const installation = (await agent.get('/health/comfyui/installation')).body as InstallationDocument;
      const operations = (await overSocket(agent.root, 'GET', '/v1/operations')).body as readonly { state: string }[];
      const instance = await agent.instance(0);
      const { release } = await currentRelease(agent.root);
      // What the agent before was asked for may not have begun again yet.
      const intents = Intents.parse(JSON.parse(await readFile(join(agent.root, 'state/intents.json'), 'utf8')));
      const asked = installationWish(intents, { release: known(release) });
      const running = asked !== null || operations.some(({ state }) => state === 'running');
      if (!running && installation.ok && instance.ready && instance.release === release?.id) return installation;
      throw new Error(
        `${JSON.stringify({ running, installation: installation.status, step: installation.step, current: release?.id, instance })}\n${agent.output().slice(-2_000)}`,
      );
    },
    30_000,
  );
}

const isWanted = (release: Awaited<ReturnType<typeof currentRelease>>['release'], wanted: Wanted): boolean =>
  Object.entries(wanted.commits).every(([name, commit]) =>
    release?.packs.some((pack) => pack.name === name && pack.state === 'loaded' && pack.commit === commit),
  ) && Object.entries(wanted.packages).every(([name, version]) => release?.packages[name] === version);

describe.skipIf(KILLS < 1)('an installation that is killed', () => {
  it.for(plans.map((plan, index) => ({ plan, index, name: planName(plan) })))('$index: $name', async ({ plan }, { skip }) => {
    if (skipped !== null) return skip(skipped);
    await ensureAgent();
    sound = false;
    tally.rounds += 1;
    const { root, firstPort } = agent;
    const before = (await currentRelease(root)).release?.id;
    const wanted = await lab.change();
    await replaceFile(nodesOf(root), wanted.nodes);

    const killed = await killDuringInstall(agent, plan);
    if (killed.missed) tally.missed += 1;
    // Nothing has run since: this is what a machine would find after the power came back.
    const found = await currentRelease(root);
    expect(found.wrong).toEqual([]);
    expect(found.release).not.toBeNull();
    if (found.release?.id === before) tally.old += 1;
    else expect(isWanted(found.release, wanted)).toBe(true);

    const [asked, taken] = [lab.git.requests.length, lab.index.downloads.length];
    const agentDied = plan.victim === 'agent' || plan.victim === 'all';
    if (agentDied) agent = await startOn(root, firstPort);
    await settled();
    let current = await currentRelease(root);
    expect(current.wrong).toEqual([]);
    expect([before, current.release?.id]).toContain((await agent.instance(0)).release);
    if (agentDied && found.release?.id === before && isWanted(current.release, wanted)) tally.resumed += 1;
    if (!isWanted(current.release, wanted)) {
      const again = await agent.cli('install');
      expect(again).toMatchObject({ code: 0 });
      await settled();
      current = await currentRelease(root);
    }
    expect(isWanted(current.release, wanted)).toBe(true);

    // What was done was not done again: neither the packs that were in, nor the packages once the environment was whole.
    if (agentDied) {
      const again = lab.git.requests.slice(asked);
      expect(killed.fetched.filter((name) => again.some((path) => path.startsWith(`/${name}/`)))).toEqual([]);
      const environmentDone = ['pack-setup', 'links', 'validate', 'activate'].includes(killed.step ?? '');
      if (environmentDone) expect(lab.index.downloads.slice(taken)).toEqual([]);
    }
    await eventually('nobody is left behind', async () => {
      const left = await orphans(root, agent.pid);
      if (left.length === 0) return true;
      throw new Error(left.join('\n'));
    });
    expect(await locks(root, [agent.pid])).toEqual([]);
    expect(await leftovers(root)).toEqual([]);
    tally.survived += 1;
    sound = true;
  });
});
