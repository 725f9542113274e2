import type { ChildProcess } from 'node:child_process';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { newRoot, startAgent, stopAgents, type TestAgent } from '../support/agent/agent.ts';
import { sendPrompts } from '../support/agent/prompts.ts';
import { pidsOf } from '../support/agent/scene.ts';
import { realAgentOptions, realComfyui, stubWheels } from '../support/comfyui/real.ts';
import { eventually } from '../support/eventually.ts';
import { createPack, nodesFile, packOf } from '../support/git/pack-origins.ts';
import { endExternalPm2, startExternalPm2 } from '../support/pm2/external.ts';

/** What ends where nobody asked it to, on a real ComfyUI on the CPU: node packs that end the process, and the agent itself. */

const INSTALLATION_LIMIT_MS = 540_000;
const RESTARTS = 4;

const real = realComfyui();

const DEEDS = {
  Exits: ['import os\nos._exit(0)\n', /ends ComfyUI while it is imported \(exit code 0\)/],
  Quits: ['raise SystemExit\n', /ends ComfyUI while it is imported \(exit code 0\)/],
  Kills: ['import os\nos.kill(os.getpid(), 9)\n', /ends ComfyUI while it is imported \(signal SIGKILL\)/],
  Closes: ['import os\nos.closerange(3, 4096)\n', /closes files/],
} as const;

describe.skipIf(real === null)('what ends on real ComfyUI', () => {
  let directory: string;
  let wheels: string;
  let pm2: ChildProcess;
  let agent: TestAgent;
  let options: Parameters<typeof startAgent>[0];

  beforeAll(async () => {
    if (real === null) return;
    directory = await mkdtemp(join(tmpdir(), 'agent-real-endings-'));
    wheels = await stubWheels();
    const packs = await Promise.all(
      [...Object.entries(DEEDS).map(([name, [text]]) => ({ name, text })), { name: 'Good', text: 'NODE_CLASS_MAPPINGS = {}\n' }].map(
        async ({ name, text }) => ({ name, url: (await createPack(directory, name.toLowerCase(), { '__init__.py': text })).url }),
      ),
    );
    const root = await newRoot();
    pm2 = await startExternalPm2(root);
    const { environment, ...rest } = realAgentOptions(real, wheels, 2);
    options = {
      ...rest,
      root,
      environment: { ...environment, AGENT_PM2: 'external' },
      files: { 'shared/config_nodes.json': nodesFile(...packs) },
    };
    agent = await startAgent(options);
  }, 120_000);
  afterAll(async () => {
    await stopAgents();
    if (pm2 !== undefined) await endExternalPm2(pm2);
    for (const path of [directory, wheels]) if (path !== undefined) await rm(path, { recursive: true, force: true });
  });

  it('packs that end the process, or close its files, are named and left out; the others are installed', async () => {
    for (const gpu of [0, 1]) await eventually('it is ready', async () => (await agent.instance(gpu)).ready, INSTALLATION_LIMIT_MS);
    for (const [name, [, told]] of Object.entries(DEEDS))
      expect(await packOf(agent, name)).toMatchObject({ state: 'failed', error: expect.stringMatching(told) });
    expect(await packOf(agent, 'Good')).toMatchObject({ state: 'loaded' });
  });

  it('the agent ends by SIGTERM and SIGKILL: no instance does, nor is a prompt lost', async () => {
    const pids = await pidsOf(agent);
    const urls = [0, 1].map((gpu) => `http://127.0.0.1:${agent.firstPort + gpu}`);
    const prompts = sendPrompts(agent.root, () => urls);
    for (let turn = 0; turn < RESTARTS; turn++) {
      const before = prompts.taken();
      await eventually('prompts run', () => prompts.taken() >= before + 10, 60_000);
      if (turn % 2 === 0) expect(await agent.stop()).toBe(0);
      else await agent.kill();
      agent = await startAgent({ ...options, firstPort: agent.firstPort });
      await agent.untilReady();
      expect(await pidsOf(agent)).toEqual(pids);
    }
    const report = await prompts.end();
    expect(report).toEqual({ taken: report.taken, lost: [], repeated: [], forgotten: [] });
    console.log(`${RESTARTS} restarts of the agent, ${report.taken} prompts, none lost`);
  });
});
