import { setTimeout as pause } from 'node:timers/promises';
import { processesKnowing } from '../../support/agent/processes.ts';
import { isAlive } from '../../support/agent/scene.ts';
import { eventually } from '../../support/eventually.ts';
import { EXIT_MS, fact, goesOnSaying, isHeld, jobsEnd, others, says, seen } from '../../support/faults/expect.ts';
import { submitJob } from '../../support/faults/jobs.ts';
import type { FaultRow } from '../../support/faults/row.ts';
import type { Scene } from '../../support/faults/scene.ts';

/** The process of an instance ends. */

const kill = (signal: NodeJS.Signals) => async (scene: Scene) => {
  const pid = await scene.pid(0);
  scene.strike();
  process.kill(pid, signal);
};

/** Back after an end: PM2's pause, the start of a simulator and the canary. */
const BACK_MS = 3_000;

const ended = (message: RegExp): FaultRow['done'] => ({
  words: 'PM2 starts it again after its pause; the end is counted with its cause',
  events: [
    { type: 'instance.exit', target: 'instance 0', message },
    { type: 'instance.ready', target: 'instance 0' },
  ],
  never: [{ type: 'instance.exit', target: 'instance 1' }, { type: 'action.restart-instance' }, { type: 'action.quarantine-instance' }],
});

const endsBy = (id: string, source: string, fault: string, inject: FaultRow['inject'], reason: string): FaultRow => ({
  id,
  source,
  fault,
  stage: 'owned',
  inject,
  health: [
    says(0, 'not ready', EXIT_MS, { ready: false }),
    // More may be known of it a moment later: exit 0 that nobody asked for.
    says(0, `last end: ${reason}`, EXIT_MS, { lastReason: new RegExp(`^${reason}(, | \\(|$)`) }),
  ],
  done: ended(new RegExp(`ended by itself: ${reason}`)),
  untouched: [others(1)],
  back: { gpus: [0], figureMs: BACK_MS },
});

/** A job after which, or in which, the process dies by its own switch. */
const dies = (switches: Readonly<Record<string, unknown>>) => async (scene: Scene) => {
  const { url, pid } = await scene.instance(0);
  await scene.switches(0, switches);
  // Taken over within 50 ms.
  await pause(150);
  // One that dies while it answers has taken the job.
  if (isAlive(pid)) await submitJob(url ?? '').catch(() => undefined);
  await eventually('it dies', () => !isAlive(pid));
  scene.strike();
  await scene.switches(0, {});
};

async function leftChild(scene: Scene): Promise<number> {
  await scene.switches(0, { spawn_child: true });
  const parent = await scene.pid(0);
  const child = await eventually('it has a child', async () =>
    (await processesKnowing(scene.root)).find((row) => row.parent === parent && row.command.startsWith('sleep')),
  );
  return child.pid;
}

export const endRows: readonly FaultRow[] = [
  endsBy('exit-sigkill', 'peers-serving F3', 'the process is killed with SIGKILL', kill('SIGKILL'), 'exit signal SIGKILL'),
  endsBy(
    'exit-sigsegv',
    'pm2.md 4.1',
    'the process dies of SIGSEGV, which PM2 itself calls exit code 0',
    kill('SIGSEGV'),
    'exit signal SIGSEGV',
  ),
  endsBy('exit-sigterm', 'comfyui.md 1', 'somebody sends it SIGTERM', kill('SIGTERM'), 'exit signal SIGTERM'),
  endsBy('exit-clean', 'peers-serving F2, predecessor 4', 'ComfyUI ends with exit code 0, as nobody asked', kill('SIGINT'), 'exit code 0'),
  endsBy(
    'exit-code',
    'predecessor 4',
    'ComfyUI ends with exit code 3 after a job',
    dies({ crash_after_jobs: 1, exit_code: 3 }),
    'exit code 3',
  ),
  endsBy(
    'exit-in-job',
    'peers-serving F3',
    'ComfyUI dies of SIGSEGV inside a job',
    dies({ crash_in_job: 1, exit_signal: 'SIGSEGV' }),
    'exit signal SIGSEGV',
  ),
  {
    id: 'exit-beside-a-job',
    source: 'peers-serving F3',
    fault: 'one instance is killed while another runs a job',
    stage: 'owned',
    inject: async (scene) => {
      await scene.switches(1, { job_hang_seconds: 2 });
      await pause(150);
      await scene.job(1);
      await kill('SIGKILL')(scene);
    },
    health: [says(0, 'not ready', EXIT_MS, { ready: false })],
    done: ended(/exit signal SIGKILL/),
    untouched: [others(1), jobsEnd],
    back: { gpus: [0], figureMs: BACK_MS },
  },
  {
    id: 'child-left-by-a-killed-python',
    source: 'pm2.md 4.2',
    fault: 'python is killed, a child of it lives on with the memory of its card',
    stage: 'owned',
    inject: async (scene) => {
      const child = await leftChild(scene);
      scene.after(() => isAlive(child) && process.kill(child, 'SIGKILL'));
      await kill('SIGKILL')(scene);
      await scene.switches(0, {});
      scene.notes.set('child', child);
    },
    health: [
      says(0, 'not ready', EXIT_MS, { ready: false }),
      fact('the child is gone', EXIT_MS, async ({ notes }) => !isAlive(notes.get('child') ?? null)),
    ],
    done: { ...ended(/exit signal SIGKILL/), words: 'what it left of its process tree is ended before the next start' },
    untouched: [others(1)],
    back: { gpus: [0], figureMs: BACK_MS },
  },
  {
    id: 'stop-ends-the-tree',
    source: 'pm2.md 4.2, predecessor 2',
    fault: 'a stop is asked for, and a child of the instance would live on',
    stage: 'owned',
    inject: async (scene) => {
      const [parent, child] = [await scene.pid(0), await leftChild(scene)];
      scene.strike();
      await scene.agent.cli('stop', '0');
      if (isAlive(parent)) throw new Error('stop answered before the process had ended');
      await ends(child);
    },
    health: [says(0, 'stopped', 2_000, { status: 'stopped', ready: false })],
    heal: { words: 'it is started', how: async (scene) => void (await scene.agent.cli('start', '0')) },
    done: {
      words: 'the whole tree is ended, and it is stopped, not failed',
      events: [
        { type: 'action.stop-instance', target: 'instance 0' },
        { type: 'action.start-instance', target: 'instance 0' },
      ],
      never: [{ type: 'action.failed' }],
    },
    untouched: [others(1)],
    back: { gpus: [0], figureMs: BACK_MS },
  },
  {
    id: 'stop-deaf-to-sigint',
    source: 'pm2.md 4.2',
    fault: 'an instance that is to stop ignores SIGINT',
    stage: 'owned',
    inject: async (scene) => {
      // Taken over at a start only.
      await scene.switches(0, { ignore_sigint: true });
      await scene.agent.cli('restart', '0');
      const pid = await scene.pid(0);
      scene.strike();
      const stop = await scene.agent.cli('stop', '0');
      if (stop.code !== 0 || isAlive(pid)) throw new Error(`stop: ${stop.code} ${stop.stderr}, alive: ${isAlive(pid)}`);
      await scene.switches(0, {});
    },
    health: [says(0, 'stopped', 3_000, { status: 'stopped' })],
    heal: { words: 'it is started', how: async (scene) => void (await scene.agent.cli('start', '0')) },
    done: {
      words: 'SIGKILL after `pm2.killTimeoutMs`',
      events: [{ type: 'action.stop-instance', target: 'instance 0' }],
      never: [{ type: 'action.failed' }],
    },
    untouched: [others(1)],
    back: { gpus: [0], figureMs: BACK_MS },
  },
  {
    id: 'exit-at-start',
    source: 'peers-serving F4, peers-serving pain 13',
    fault: 'every start ends at once with exit code 3, for a while',
    stage: 'owned',
    inject: async (scene) => {
      await scene.switches(0, { exit_at_startup: 3 });
      await kill('SIGKILL')(scene);
    },
    health: [
      says(0, 'not ready', EXIT_MS, { ready: false }),
      says(0, 'last end: exit code 3', 1_000, { ready: false, lastReason: /^exit code 3\b/ }),
    ],
    heal: { words: 'the cause goes', how: (scene) => scene.switches(0, {}) },
    done: {
      words: 'it is started again and again until quarantine would be due',
      events: [
        { type: 'instance.exit', target: 'instance 0', message: /exit signal SIGKILL/ },
        { type: 'instance.exit', target: 'instance 0', message: /exit code 3/ },
        { type: 'instance.ready', target: 'instance 0' },
      ],
      never: [{ type: 'action.quarantine-instance' }],
    },
    untouched: [others(1)],
    back: { gpus: [0], figureMs: 5_000 },
  },
  {
    id: 'crash-loop',
    source: 'pm2.md 4.1',
    fault: 'a start that always ends at once; PM2 itself would never give up',
    stage: 'strict',
    inject: async (scene) => {
      await scene.switches(0, { exit_at_startup: 3 });
      await kill('SIGKILL')(scene);
    },
    health: [
      says(0, 'not ready', EXIT_MS, { ready: false }),
      isHeld('instance 0', 'QUARANTINED', 5_000, /last: exit code 3/),
      seen('the machine serves with what is left', 1_000, async (scene) => {
        const { status, body } = await scene.agent.get('/ready');
        return status === 200 ? null : JSON.stringify(body);
      }),
      says(0, 'quarantined, with no process', 2_000, { status: 'quarantined', ready: false }),
    ],
    heal: {
      words: 'the cause goes, and `agent unquarantine 0`',
      how: async (scene) => {
        await scene.switches(0, {});
        const lifted = await scene.agent.cli('unquarantine', '0');
        if (lifted.code !== 0) throw new Error(lifted.stderr);
      },
    },
    done: {
      words: 'that one instance is quarantined',
      events: [
        { type: 'instance.exit' },
        { type: 'action.quarantine-instance', target: 'instance 0' },
        { type: 'instance.ready', target: 'instance 0' },
      ],
      never: [{ type: 'action.quarantine-instance', target: 'instance 1' }],
    },
    untouched: [others(1)],
    back: { gpus: [0], figureMs: 5_000 },
  },
  {
    id: 'crash-loop-backs-off',
    source: 'issue "crash-loop accounting with back-off", pm2.md 4.1',
    fault: 'an instance ends twice within the window',
    stage: 'backOff',
    inject: async (scene) => {
      process.kill(await scene.pid(0), 'SIGKILL');
      await eventually('it ended', async () => (await scene.instance(0)).restarts.inWindow === 1);
      await scene.agent.untilReady([0]);
      await kill('SIGKILL')(scene);
    },
    health: [
      says(0, 'crash-loop, not ready', 1_000, { ready: false, verdict: 'crash-loop' }),
      goesOnSaying(0, 'and not started meanwhile', 2_000, { ready: false }),
    ],
    done: {
      words: 'it is started after a pause that doubles with each end',
      events: [
        { type: 'instance.exit', target: 'instance 0' },
        { type: 'fault.seen', target: 'instance 0' },
        { type: 'instance.ready', target: 'instance 0' },
      ],
      never: [{ type: 'action.quarantine-instance' }],
    },
    untouched: [others(1)],
    back: { gpus: [0], figureMs: 8_000 },
  },
  {
    id: 'crash-loop-after-good-times',
    source: 'pm2.md 4.1',
    fault: 'an instance that was healthy for a while dies after every job; PM2 counts from its creation and would restart it for ever',
    stage: 'strict',
    inject: async (scene) => {
      scene.strike();
      for (let round = 0; round < 3; round++) {
        await scene.agent.untilReady([0]);
        process.kill(await scene.pid(0), 'SIGKILL');
        await pause(200);
      }
      scene.strike();
    },
    health: [isHeld('instance 0', 'QUARANTINED', 2_000, /ended 3 times/)],
    heal: { words: '`agent unquarantine 0`', how: async (scene) => void (await scene.agent.cli('unquarantine', '0')) },
    done: {
      words: 'the sliding window counts, so that it is quarantined',
      events: [{ type: 'action.quarantine-instance', target: 'instance 0' }],
    },
    untouched: [others(1)],
    back: { gpus: [0], figureMs: 5_000 },
  },
  {
    id: 'quarantine-outlives-the-agent',
    source: 'peers-serving F7',
    fault: 'the agent is killed while an instance is quarantined',
    stage: 'strict',
    inject: async (scene) => {
      await scene.switches(0, { exit_at_startup: 3 });
      await kill('SIGKILL')(scene);
      await eventually(
        'it is quarantined',
        async () => {
          const { status, pid } = await scene.instance(0);
          return status === 'quarantined' && pid === null;
        },
        20_000,
      );
      await scene.killAgent();
      await scene.startAgentAgain();
      scene.strike();
    },
    health: [
      isHeld('instance 0', 'QUARANTINED', 3_000),
      fact('it has no process', 2_000, async (scene) => (await scene.instance(0)).pid === null),
    ],
    heal: {
      words: 'the cause goes, and `agent unquarantine 0`: nothing is latched',
      how: async (scene) => {
        await scene.switches(0, {});
        await scene.agent.cli('unquarantine', '0');
      },
    },
    done: {
      words: 'it stays in quarantine',
      events: [{ type: 'action.quarantine-instance' }, { type: 'agent.start' }, { type: 'instance.ready', target: 'instance 0' }],
    },
    untouched: [],
    back: { gpus: [0, 1], figureMs: 5_000 },
  },
];

const ends = (pid: number): Promise<unknown> => eventually(`process ${pid} ends`, () => !isAlive(pid), 5_000);
