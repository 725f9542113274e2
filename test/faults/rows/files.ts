import { appendFile, readFile, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { editConfig, replaceFile } from '../../support/agent/scene.ts';
import { eventually } from '../../support/eventually.ts';
import { fact, goesOnSaying, others, pids, says } from '../../support/faults/expect.ts';
import { jobEnd, submitJob } from '../../support/faults/jobs.ts';
import type { FaultRow } from '../../support/faults/row.ts';
import type { Scene } from '../../support/faults/scene.ts';

/** What people write, and disks that are full. */

const NEVER_TOUCHED: FaultRow['done']['never'] = [
  { type: 'instance.exit' },
  { type: 'action.restart-instance' },
  { type: 'action.stop-instance' },
];
const KEPT = { words: 'the last good configuration stays in force', events: [], never: NEVER_TOUCHED } as const;

/** Replaces agent.yaml, and puts the one before back when the row ends. */
async function breakConfig(scene: Scene, text: (before: string) => string): Promise<void> {
  const path = join(scene.root, 'agent.yaml');
  const before = await readFile(path, 'utf8');
  scene.after(() => replaceFile(path, before));
  scene.strike();
  await replaceFile(path, text(before));
}

const badConfig = (id: string, fault: string, text: (before: string) => string, problem: RegExp): FaultRow => ({
  id,
  source: 'own',
  fault,
  stage: 'owned',
  inject: (scene) => breakConfig(scene, text),
  health: [
    fact('what is wrong with which line is told', 2_000, async (scene) => {
      const { configuration } = await scene.health();
      return problem.test(configuration.problem ?? '') || String(configuration.problem);
    }),
  ],
  heal: {
    words: 'it is corrected',
    how: async (scene) => {
      await scene.endRow();
      await eventually('the configuration is good', async () => (await scene.health()).configuration.ok);
    },
  },
  done: { ...KEPT, events: [{ type: 'configuration.rejected' }] },
  untouched: [others(0, 1)],
  back: { gpus: [0, 1], figureMs: 2_000 },
});

/** Environments of both instances; empty while there is no process. */
const variables = (scene: Scene): Promise<readonly string[]> =>
  Promise.all([0, 1].map(async (gpu) => readFile(`/proc/${(await scene.instance(gpu)).pid}/environ`, 'utf8').catch(() => '')));

/** The small disks of the stage, as only the agent and its children see them. */
const onDisk = (scene: Scene, path: string): string => `/proc/${scene.agent.pid}/root${join(scene.root, path)}`;

async function fillDisk(scene: Scene, path: string): Promise<void> {
  const filler = onDisk(scene, join(path, 'filler'));
  scene.after(() => rm(filler, { force: true }));
  for (const size of [256 * 1024, 4096, 64]) {
    try {
      for (;;) await appendFile(filler, Buffer.alloc(size));
    } catch {
      // Smaller pieces, until nothing more fits.
    }
  }
}
const makeRoom = (path: string) => ({ words: 'there is room again', how: (scene: Scene) => rm(onDisk(scene, join(path, 'filler'))) });

export const fileRows: readonly FaultRow[] = [
  badConfig('configuration-no-yaml', 'agent.yaml is saved half-written', (before) => `${before.slice(0, 40)}\n  x: [`, /agent\.yaml:\d+/),
  badConfig(
    'configuration-unknown-key',
    'agent.yaml has a key that does not exist',
    (before) => `${before}helth:\n  minReady: 1\n`,
    /helth.*health/s,
  ),
  badConfig(
    'configuration-wrong-value',
    'agent.yaml has a value that does not parse',
    (before) => before.replace('mode: mock', 'mode: fast'),
    /gpu\.mode/,
  ),
  {
    id: 'settings-change-under-a-job',
    source: 'own',
    fault: 'settings of all instances are changed while one runs a job',
    stage: 'owned',
    inject: async (scene) => {
      await scene.switches(0, { job_hang_seconds: 3 });
      await pause(150);
      const { url, pid } = await scene.instance(0);
      const job = await submitJob(url ?? '');
      await eventually('it is seen to be busy', async () => (await scene.instance(0)).queue?.running === 1);
      await scene.switches(0, { job_hang_seconds: 3 });
      scene.strike();
      const before = await editConfig(scene.root, { comfyui: { environment: { ROLLED: 'yes' } } });
      scene.after(async () => {
        await replaceFile(join(scene.root, 'agent.yaml'), before);
        await eventually(
          'the settings before are in force',
          async () => (await variables(scene)).every((text) => text !== '' && !text.includes('ROLLED')),
          30_000,
        );
      });
      const end = await jobEnd(job);
      if (end !== 'success') throw new Error(`the job ended with ${end}`);
      scene.notes.set('pid', pid ?? 0);
      await scene.switches(0, {});
    },
    health: [
      fact('each runs with the new settings', 6_000, async (scene) => {
        return (await variables(scene)).every((text) => text.includes('ROLLED=yes'));
      }),
    ],
    done: {
      words: 'one at a time, and the busy one after its job',
      events: [
        { type: 'configuration.changed' },
        { type: 'hold.set', message: /until its 1 job is done|another instance/ },
        { type: 'action.restart-instance' },
      ],
      never: [{ type: 'instance.exit', message: /by itself/ }],
    },
    untouched: [],
    back: { gpus: [0, 1], figureMs: 8_000 },
  },
  {
    id: 'pack-list-no-json',
    source: 'predecessor, config_nodes.json',
    fault: 'shared/config_nodes.json is saved half-written',
    stage: 'owned',
    inject: async (scene) => {
      const path = join(scene.root, 'shared/config_nodes.json');
      scene.after(() => rm(path, { force: true }));
      scene.strike();
      await replaceFile(path, '{"custom_nodes": [');
    },
    health: [
      fact('the file and what is wrong with it are told', 3_000, async (scene) => {
        const text = JSON.stringify(await scene.health());
        return /config_nodes\.json/.test(text) || text;
      }),
    ],
    heal: { words: 'it is taken away', how: (scene) => rm(join(scene.root, 'shared/config_nodes.json')) },
    done: { words: 'nothing', events: [{ type: 'hold.set' }], never: NEVER_TOUCHED },
    untouched: [pids(0, 1)],
    back: { gpus: [0, 1], figureMs: 2_000 },
  },
  {
    id: 'pack-stands-twice',
    source: 'peers-serving F11 (two downloads of one name), predecessor, config_nodes.json',
    fault: 'two packs of one name and different URLs are asked for: the second would overwrite the first',
    stage: 'owned',
    inject: async (scene) => {
      const path = join(scene.root, 'shared/config_nodes.json');
      scene.after(() => rm(path, { force: true }));
      const entry = (url: string) => ({ name: 'pack', url, requirements: false });
      scene.strike();
      await replaceFile(
        path,
        JSON.stringify({ custom_nodes: [entry('https://127.0.0.1/a/pack'), entry('https://127.0.0.1/b/pack')] }, null, 2),
      );
    },
    health: [
      fact('the name stands twice, in which lines', 3_000, async (scene) => {
        const text = JSON.stringify(await scene.health());
        return /the name stands twice, in lines/.test(text) || text;
      }),
    ],
    heal: { words: 'it is taken away', how: (scene) => rm(join(scene.root, 'shared/config_nodes.json')) },
    done: { words: 'nothing is installed', events: [], never: NEVER_TOUCHED },
    untouched: [pids(0, 1)],
    back: { gpus: [0, 1], figureMs: 2_000 },
  },
  {
    id: 'model-missing',
    source: 'peers-serving pain 16',
    fault: 'a model that is required is not there',
    stage: 'owned',
    inject: async (scene) => {
      const before = await editConfig(scene.root, { models: { required: ['checkpoints/gone.safetensors'] } });
      scene.after(() => replaceFile(join(scene.root, 'agent.yaml'), before));
      scene.strike();
    },
    health: [
      says(0, 'degraded and ready, with the file', 12_000, { status: 'degraded', ready: true }),
      fact('503 of the models', 1_000, async ({ agent }) => (await agent.get('/health/comfyui/models')).status === 503),
    ],
    heal: {
      words: 'it is no longer asked for',
      how: async (scene) => {
        await scene.endRow();
        await eventually('all is healthy', async () => (await scene.health()).status === 'healthy', 40_000);
      },
    },
    done: { words: 'jobs go on', events: [], never: NEVER_TOUCHED },
    untouched: [others(0, 1)],
    back: { gpus: [0, 1], figureMs: 15_000 },
  },
  {
    id: 'model-folder-missing',
    source: 'comfyui.md 3 "listed-but-missing custom_nodes directory aborts start-up"',
    fault: 'comfy_dir_config.yaml lists directories that do not exist, among them one of custom_nodes',
    stage: 'owned',
    inject: async (scene) => {
      const path = join(scene.root, 'shared/comfy_dir_config.yaml');
      scene.after(() => rm(path, { force: true }));
      await replaceFile(
        path,
        `comfyui:\n  base_path: ${scene.root}/nowhere\n  custom_nodes: custom_nodes\n  checkpoints: models/checkpoints\n`,
      );
      await pause(500);
      scene.strike();
      await scene.agent.cli('restart', '0', '--no-wait');
    },
    health: [
      fact('it is ready again with another process', 6_000, async (scene) => {
        const { ready } = await scene.instance(0);
        return ready && scene.journal().some(({ type, target }) => type === 'instance.ready' && target === 'instance 0');
      }),
    ],
    heal: {
      words: 'the list goes',
      how: async (scene) => {
        await rm(join(scene.root, 'shared/comfy_dir_config.yaml'));
        await eventually('nothing is warned of', async () => (await scene.health()).status === 'healthy', 30_000);
      },
    },
    done: {
      words: 'the agent gives ComfyUI a file of its own, without what is missing',
      events: [{ type: 'action.restart-instance', target: 'instance 0' }],
      never: [{ type: 'instance.exit', message: /by itself/ }],
    },
    untouched: [],
    back: { gpus: [0], figureMs: 6_000 },
  },
  {
    id: 'disk-full-of-logs',
    source: 'issue "tmpfs full"',
    fault: 'the disk of the logs is full, and then an instance dies',
    stage: 'smallDisks',
    inject: async (scene) => {
      await fillDisk(scene, 'logs');
      const pid = await scene.pid(0);
      scene.strike();
      process.kill(pid, 'SIGKILL');
    },
    health: [says(0, 'not ready', 500, { ready: false }), says(0, 'ready again, though nothing can be logged', 4_000, { ready: true })],
    heal: makeRoom('logs'),
    done: {
      words: 'PM2 starts it again',
      events: [
        { type: 'instance.exit', target: 'instance 0' },
        { type: 'instance.ready', target: 'instance 0' },
      ],
    },
    untouched: [others(1)],
    back: { gpus: [0], figureMs: 4_000 },
  },
  {
    id: 'disk-full-of-state',
    source: 'issue "tmpfs full"',
    fault: 'the disk of the agent\u2019s state is full, and then an instance dies',
    stage: 'smallDisks',
    inject: async (scene) => {
      await fillDisk(scene, 'state');
      const pid = await scene.pid(0);
      scene.strike();
      process.kill(pid, 'SIGKILL');
    },
    health: [
      says(0, 'not ready', 500, { ready: false }),
      says(0, 'ready again, though nothing can be written down', 4_000, { ready: true }),
    ],
    heal: makeRoom('state'),
    done: { words: 'PM2 starts it again; the agent goes on without its journal', events: [] },
    untouched: [others(1)],
    back: { gpus: [0], figureMs: 4_000 },
  },
  {
    id: 'verb-that-cannot-be-saved',
    source: 'issue "a verb that fails must not act"',
    fault: 'the disk of the agent\u2019s state is full, and a restart is asked for',
    stage: 'smallDisks',
    inject: async (scene) => {
      await fillDisk(scene, 'state');
      scene.strike();
      const { code, stderr } = await scene.agent.cli('restart', '0');
      if (code === 0 || !/DISK_FULL/.test(stderr)) throw new Error(`exit code ${code}: ${stderr}`);
    },
    health: [goesOnSaying(0, 'ready all the time', 2_000, { ready: true })],
    heal: makeRoom('state'),
    done: { words: 'it is refused, and nothing is done', events: [], never: NEVER_TOUCHED },
    untouched: [others(0, 1)],
    back: { gpus: [0, 1], figureMs: 4_000 },
  },
  {
    id: 'disk-full-of-outputs',
    source: 'peers-serving pain 20 "disk fills with outputs"',
    fault: 'the disk of the outputs is full, and jobs run',
    stage: 'smallDisks',
    inject: async (scene) => {
      await fillDisk(scene, 'shared/outputs');
      scene.strike();
      const { url } = await scene.instance(0);
      await jobEnd(await submitJob(url ?? ''));
    },
    health: [goesOnSaying(0, 'goes on', 1_500, { layersPass: true })],
    heal: makeRoom('shared/outputs'),
    done: { words: 'no restart', events: [], never: NEVER_TOUCHED },
    untouched: [pids(0, 1)],
    back: { gpus: [0, 1], figureMs: 4_000 },
  },
];
