import { setTimeout as pause } from 'node:timers/promises';
import type { StatusDocument } from '../../../src/domain/agent.ts';
import { eventually } from '../../support/eventually.ts';
import { fact, jobsEnd, others, pids } from '../../support/faults/expect.ts';
import type { FaultRow } from '../../support/faults/row.ts';
import type { Scene } from '../../support/faults/scene.ts';

/** Cards of which the driver tells something else when the agent starts, or every process says the same. */

type Switches = Readonly<Record<string, string | number>>;

/** Card 0 of the recorded set. */
const FIRST = 'GPU-2e9c4d1a-7b35-48f6-9c02-a1b2c3d4e5f6';
/** The driver's words of a card that fell off the bus. */
const DEAD = 'Unable to determine the device handle for GPU0: 0000:3B:00.0: Unknown Error';
const BACK_MS = 12_000;
const NEVER: FaultRow['done']['never'] = [
  { type: 'instance.exit', target: 'instance 1' },
  { type: 'action.restart-instance', target: 'instance 1' },
  { type: 'action.stop-instance', target: 'instance 1' },
  { type: 'action.remove-process' },
];

async function startAgainWith(scene: Scene, switches: Switches): Promise<void> {
  const code = await scene.agent.stop();
  if (code !== 0) throw new Error(`the agent ended with ${code}`);
  await scene.smi.control(switches);
  scene.strike();
  await scene.startAgentAgain();
}

const capacity = (expected: string, figureMs: number) =>
  fact(`capacity ${expected}`, figureMs, async (scene) => {
    const { health } = await scene.agent.json<StatusDocument>('status');
    return health.capacity === expected || `${health.capacity}: ${health.reasons.join('; ')}`;
  });

const told = (what: string, words: RegExp) =>
  fact(what, 3_000, async (scene) => {
    const { reasons } = (await scene.agent.get('/ready')).body as { readonly reasons: readonly string[] };
    return words.test(reasons.join('\n')) || reasons.join('\n');
  });

const cardIsBack: FaultRow['heal'] = {
  words: 'the card is back, and `agent unquarantine 0`',
  how: async (scene) => {
    await scene.smi.control({});
    await eventually('the card is seen to be in order', async () => (await scene.instance(0)).verdicts.length === 0, 30_000);
    await scene.agent.cli('unquarantine', '0');
  },
};

const goneWhileDown = (id: string, fault: string, switches: Switches, words: RegExp): FaultRow => ({
  id,
  source: 'issue "a card that is gone after a reboot is forgotten"',
  fault,
  stage: 'external',
  inject: (scene) => startAgainWith(scene, switches),
  health: [capacity('1/2', 6_000), told('the card that is missed is named, with its slot', words)],
  heal: cardIsBack,
  done: { words: 'the other keeps slot, port and process', events: [{ type: 'agent.start' }], never: NEVER },
  untouched: [pids(1)],
  back: { gpus: [0, 1], figureMs: BACK_MS },
});

export const restartRows: readonly FaultRow[] = [
  goneWhileDown(
    'card-gone-after-restart',
    'a card is gone when the agent starts, and what is left is numbered anew',
    { missing: 0, change: '1|index|0' },
    new RegExp(`slot 0: its card ${FIRST}`),
  ),
  goneWhileDown(
    'card-dead-at-start',
    'a card cannot be reached when the agent starts: nvidia-smi lists no card at all, and answers for single ones',
    { dead: 0, gone: DEAD },
    new RegExp(`slot 0: its card ${FIRST}.*Unable to determine the device handle`),
  ),
  {
    id: 'driver-slow-at-start',
    source: 'issue "a restart of the agent ends every instance"',
    fault: 'the agent is killed while jobs run, and the driver takes a second for its first answer to the next one',
    stage: 'external',
    inject: async (scene) => {
      for (const gpu of [0, 1]) await scene.switches(gpu, { job_hang_seconds: 3 });
      await pause(150);
      for (const gpu of [0, 1]) await scene.job(gpu);
      await scene.killAgent();
      await scene.smi.control({ delay: 1 });
      scene.strike();
      await scene.startAgentAgain();
      for (const gpu of [0, 1]) await scene.switches(gpu, {});
    },
    health: [capacity('2/2', 8_000)],
    heal: { words: 'the driver answers at once', how: ({ smi }) => smi.control({}) },
    done: {
      words: 'nothing is ended: what runs is taken over when the cards are known',
      events: [{ type: 'agent.start' }],
      never: [{ type: 'instance.exit' }, { type: 'action.stop-instance' }, { type: 'action.remove-process' }],
    },
    untouched: [pids(0, 1), jobsEnd],
    back: { gpus: [0, 1], figureMs: BACK_MS },
  },
  {
    id: 'warning-beside-the-cards',
    source: 'issue "a warning line of nvidia-smi takes both cards away"',
    fault: 'nvidia-smi ends with 14, and prints a warning about one card below its rows',
    stage: 'cards',
    inject: async (scene) => {
      scene.strike();
      await scene.smi.control({ warning: 'WARNING: infoROM is corrupted at gpu 0000:3b:00.0', rc: 14 });
    },
    health: [
      fact('its words are told of that card', 6_000, async (scene) => {
        const { stdout } = await scene.agent.cli('gpus');
        return /gpu 0 .*infoROM is corrupted/.test(stdout) || stdout;
      }),
      capacity('2/2', 1_000),
    ],
    heal: { words: 'the warning goes', how: ({ smi }) => smi.control({}) },
    done: {
      words: 'rows that are understood count; jobs go on',
      events: [],
      never: [{ type: 'instance.exit' }, { type: 'action.quarantine-instance' }, { type: 'action.restart-instance' }],
    },
    untouched: [others(0, 1)],
    back: { gpus: [0, 1], figureMs: 3_000 },
  },
  {
    id: 'no-fabric-manager',
    source: 'issue "fabric manager late (CUDA error 802)"',
    fault: 'every instance is restarted and ends with CUDA error 802',
    stage: 'cards',
    inject: async (scene) => {
      for (const gpu of [0, 1]) await scene.switches(gpu, { no_cuda: '802' });
      const both = await Promise.all([scene.pid(0), scene.pid(1)]);
      scene.strike();
      for (const pid of both) process.kill(pid, 'SIGKILL');
    },
    health: [
      fact('one line of the machine, with cause and command', 4_000, async (scene) => {
        const { reasons } = await scene.health();
        const [line = ''] = reasons;
        return (
          (reasons.length === 1 && /^no card can be used by CUDA.*802.*systemctl restart nvidia-fabricmanager/.test(line)) ||
          reasons.join('\n')
        );
      }),
    ],
    heal: {
      words: 'the fabric manager runs',
      how: async (scene) => {
        for (const gpu of [0, 1]) await scene.switches(gpu, {});
      },
    },
    done: { words: 'they are started again until quarantine would be due', events: [{ type: 'instance.exit', message: /802/ }] },
    untouched: [],
    back: { gpus: [0, 1], figureMs: 6_000 },
  },
];
