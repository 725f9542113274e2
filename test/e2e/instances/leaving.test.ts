import { afterEach, describe, expect, it } from 'vitest';
import { newRoot, startAgent, stopAgents, type TestAgent } from '../../support/agent/agent.ts';
import { controlFile, startLongJob, untilPicture } from '../../support/agent/control-file.ts';
import { editConfig, pidsOf, untilHeld } from '../../support/agent/scene.ts';
import { startStream } from '../../support/agent/worker-stream.ts';
import { eventually } from '../../support/eventually.ts';

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
    await stream.untilTaken(10);
    await control.set({ leak_mb_per_job: 8 });
    await replaced(agent, before);
    await control.set({});
    await stream.untilTaken(10);
    expect((await stream.stop()).lost).toEqual([]);
  });

  it.each(ways)('%s', async (_name, leave) => {
    const agent = await startAgent({ gpus: 2 });
    await agent.untilReady();
    const before = await pidsOf(agent);
    const stream = startStream(agent.root);
    await stream.untilTaken(10);
    await leave(agent, before);
    await stream.untilTaken(10);
    expect((await stream.stop()).lost).toEqual([]);
  });
});

describe('a job that came after the queue was read last', () => {
  const ways: readonly [string, (agent: TestAgent) => Promise<unknown>][] = [
    ['restart --drain', (agent) => agent.cli('restart', '0', '--drain', '--no-wait')],
    ['drain', (agent) => agent.cli('drain', '0', '--no-wait')],
    ['a changed setting', (agent) => editConfig(agent.root, { comfyui: { environment: { EDITED: 'yes' } } })],
  ];
  it.each(ways)(
    'is waited for: %s',
    async (_, leave) => {
      const root = await newRoot();
      const control = controlFile(root);
      // So seldom that the reading before is of an empty queue.
      const agent = await startAgent({
        gpus: 1,
        root,
        environment: control.environment,
        config: { health: { http: { periodMs: 12_000 } } },
      });
      await agent.untilReady();
      const [before] = await pidsOf(agent);
      const picture = await startLongJob(control, (await agent.instance(0)).url);
      await leave(agent);
      expect((await untilHeld(agent, 'instance 0', 'DRAINING')).reason).toMatch(/1 job|queue was (not )?read/);
      await eventually('the job is known', async () => /1 job/.test((await untilHeld(agent, 'instance 0', 'DRAINING')).reason), LIMIT_MS);
      expect(await agent.instance(0)).toMatchObject({ pid: before, ready: false });
      await control.set({});
      await untilPicture(root, picture);
      await eventually('it has left', async () => (await agent.instance(0)).pid !== before, 2 * LIMIT_MS);
    },
    180_000,
  );
});
