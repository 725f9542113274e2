import { fact, isHeld, others, says } from '../../support/faults/expect.ts';
import type { FaultRow } from '../../support/faults/row.ts';
import { bystander } from '../../support/faults/stranger.ts';

/** Cards, as an nvidia-smi tells of them that is slow, wrong, or silent. */

const SURVEY_MS = 12_000;
const BACK_MS = 12_000;
const answers = {
  words: 'it answers again',
  how: async ({ smi }: { smi: { control(switches: object): Promise<void> } }) => smi.control({}),
};
const leftAlone: FaultRow['done'] = {
  words: 'a hold; what runs is left alone',
  events: [{ type: 'hold.set' }, { type: 'hold.cleared' }],
  never: [
    { type: 'instance.exit' },
    { type: 'action.restart-instance' },
    { type: 'action.stop-instance' },
    { type: 'action.quarantine-instance' },
  ],
};

/** nvidia-smi goes wrong while two instances serve. */
const smiGoes = (
  id: string,
  source: string,
  fault: string,
  switches: Readonly<Record<string, string | number>>,
  reason: RegExp,
): FaultRow => ({
  id,
  source,
  fault,
  stage: 'cards',
  inject: async (scene) => {
    scene.strike();
    await scene.smi.control(switches);
  },
  health: [
    isHeld('machine', 'GPU_QUERY_FAILED', SURVEY_MS, reason),
    fact('health answers within 100 ms, and both serve', 500, async ({ agent }) => {
      const asked = performance.now();
      const { body } = await agent.get('/ready');
      return performance.now() - asked < 100 && (body as { capacity: string }).capacity === '2/2';
    }),
  ],
  heal: answers,
  done: leftAlone,
  untouched: [others(0, 1)],
  back: { gpus: [0, 1], figureMs: BACK_MS },
});

export const cardRows: readonly FaultRow[] = [
  smiGoes('driver-hangs', 'issue, pm2.md 4.7', 'nvidia-smi does not answer', { mode: 'hang' }, /did not answer within/),
  smiGoes('driver-hangs-deaf', 'issue', 'nvidia-smi does not answer, and ignores SIGTERM', { mode: 'deaf' }, /did not answer within/),
  smiGoes('driver-fails', 'peers-serving pain 13', 'nvidia-smi fails: library and driver differ', { set: 'version-mismatch' }, /\S/),
  smiGoes('driver-broken', 'issue "driver gone"', 'nvidia-smi cannot talk to the driver any more', { set: 'driver-broken' }, /\S/),
  smiGoes(
    'driver-prints-rubbish',
    'issue "a lying nvidia-smi"',
    'nvidia-smi ends with 0 and prints rubbish',
    { mode: 'fail', exit: 0, text: 'lorem, ipsum, dolor' },
    /\S/,
  ),
  {
    id: 'card-pinned',
    source: 'predecessor 5',
    fault: 'an instance with a card dies (the predecessor\u2019s device index was its instance index)',
    stage: 'cards',
    inject: async (scene) => {
      const pid = await scene.pid(1);
      scene.strike();
      process.kill(pid, 'SIGKILL');
    },
    health: [
      says(1, 'not ready', 500, { ready: false }),
      fact('its next process has the same card, by UUID', 3_000, async (scene) => {
        const { readFile } = await import('node:fs/promises');
        const { uuid, pid, ready } = await scene.instance(1);
        const environment = await readFile(`/proc/${pid}/environ`, 'utf8').catch(() => '');
        return ready && environment.split('\0').includes(`CUDA_VISIBLE_DEVICES=${uuid}`);
      }),
    ],
    done: {
      words: 'PM2 starts it with what it had',
      events: [
        { type: 'instance.exit', target: 'instance 1' },
        { type: 'instance.ready', target: 'instance 1' },
      ],
    },
    untouched: [others(0)],
    back: { gpus: [1], figureMs: 3_000 },
  },
  {
    id: 'cuda-not-there',
    source: 'peers-serving pain 13, comfyui.md 3',
    fault: 'torch finds no CUDA at the next start, as with a driver that is too old',
    stage: 'cards',
    inject: async (scene) => {
      await scene.switches(0, { no_cuda: true });
      const pid = await scene.pid(0);
      scene.strike();
      process.kill(pid, 'SIGKILL');
    },
    health: [says(0, 'not ready; last end: exit code 1', 2_000, { ready: false, lastReason: /^exit code 1\b/ })],
    heal: { words: 'the cause goes', how: (scene) => scene.switches(0, {}) },
    done: {
      words: 'it is started again until quarantine would be due',
      events: [{ type: 'instance.exit', target: 'instance 0', message: /exit code 1/ }],
    },
    untouched: [others(1)],
    back: { gpus: [0], figureMs: 5_000 },
  },
  {
    id: 'stranger-on-the-card',
    source: 'peers-serving pain 20, pm2.md 4.7',
    fault: 'a stranger sits on the memory of a card whose instance is to be started',
    stage: 'cards',
    inject: async (scene) => {
      const stranger = await scene.stranger(bystander());
      await scene.agent.cli('stop', '0');
      await scene.agent.cli('stop', '1');
      await scene.smi.control({ set: 'two-l40s-busy', pid: stranger.pid });
      scene.strike();
    },
    health: [
      fact('the stranger is known', SURVEY_MS, async (scene) => {
        const { gpus } = await scene.agent.json<{ gpus: { owner: string | null }[] }>('gpus');
        return gpus.some(({ owner }) => owner?.includes(`pid ${scene.strangers[0]?.pid}`) === true) || JSON.stringify(gpus);
      }),
    ],
    heal: {
      words: 'it goes, and the instances are started',
      how: async (scene) => {
        await scene.smi.control({});
        await scene.agent.cli('start', '0', '--no-wait');
        await scene.agent.cli('start', '1', '--no-wait');
      },
    },
    done: { words: 'that card is not used meanwhile', events: [{ type: 'action.start-instance' }] },
    untouched: [{ what: 'the stranger: no signal was sent to it', check: async ({ strangers: [stranger] }) => stranger?.harm() ?? null }],
    back: { gpus: [0, 1], figureMs: BACK_MS },
  },
];
