import { afterEach, describe, expect, it } from 'vitest';
import { newRoot, startAgent, stopAgents, type TestAgent } from '../support/agent.ts';
import { controlFile } from '../support/control-file.ts';
import { eventually } from '../support/eventually.ts';
import { editConfig, pidsOf } from '../support/scene.ts';
import { startStream } from '../support/worker-stream.ts';

afterEach(stopAgents);

const LIMIT_MS = 60_000;

/** Every instance another process, or none where it was to go. */
const replaced = (agent: TestAgent, before: readonly (number | null)[]) =>
  eventually(
    'every instance is another process, and ready',
    async () => {
      const now = await pidsOf(agent);
      if (now.some((pid, gpu) => pid === null || pid === before[gpu])) return false;
      return (await Promise.all(now.map(async (_, gpu) => (await agent.instance(gpu)).ready))).every(Boolean);
    },
    LIMIT_MS,
  );

describe('an instance that leaves while workers keep sending: every prompt that was taken ends as its file', () => {
  const ways: readonly [string, (agent: TestAgent, before: readonly (number | null)[]) => Promise<unknown>][] = [
    [
      'restart --drain',
      async (agent, before) => {
        expect(await agent.cli('restart', 'all', '--drain')).toMatchObject({ code: 0 });
        await replaced(agent, before);
      },
    ],
    [
      'a setting changed while it runs',
      async (agent, before) => {
        await editConfig(agent.root, { comfyui: { environment: { EDITED: 'yes' } } });
        await replaced(agent, before);
      },
    ],
    [
      'drain, then start',
      async (agent, before) => {
        for (const gpu of ['0', '1']) {
          expect(await agent.cli('drain', gpu)).toMatchObject({ code: 0 });
          expect(await agent.cli('start', gpu)).toMatchObject({ code: 0 });
        }
        await replaced(agent, before);
      },
    ],
  ];
  it('memory above its budget', async () => {
    const root = await newRoot();
    const control = controlFile(root);
    const agent = await startAgent({ gpus: 2, root, environment: control.environment, config: { memory: { budgetMb: 200 } } });
    await agent.untilReady();
    const before = await pidsOf(agent);
    const stream = startStream(root);
    await control.set({ leak_mb_per_job: 8 });
    await replaced(agent, before);
    await control.set({});
    const { taken, lost } = await stream.stop();
    expect(lost).toEqual([]);
    expect(taken).toBeGreaterThan(10);
  });

  it.each(ways)('%s', async (_name, leave) => {
    const agent = await startAgent({ gpus: 2 });
    await agent.untilReady();
    const before = await pidsOf(agent);
    const stream = startStream(agent.root);
    await leave(agent, before);
    const { taken, lost } = await stream.stop();
    expect(lost).toEqual([]);
    expect(taken).toBeGreaterThan(10);
  });
});
