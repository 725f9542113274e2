import { readdir, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { fact, goesOnSaying, otherProcess, others, pids, restarted, SHORT_HANG_MS, says } from '../../support/faults/expect.ts';
import { jobEnd, submitJob } from '../../support/faults/jobs.ts';
import type { FaultRow } from '../../support/faults/row.ts';
import { type Scene, signal } from '../../support/faults/scene.ts';

/** Faults that last, and what is done about them when their time has come. Timers of this stage are short. */

/** How long a restart by remedy takes, with the process that is deaf to SIGINT and killed after its time. */
const RESTART_MS = 5_000;

/** Remembers whose process it is, sets switches, strikes. */
const set = (values: Readonly<Record<string, unknown>>, then?: (scene: Scene) => Promise<void>) => async (scene: Scene) => {
  scene.notes.set('pid', await scene.pid(0));
  await scene.switches(0, values);
  // Taken over within 50 ms.
  await pause(150);
  scene.strike();
  await then?.(scene);
};
const submit = async (scene: Scene, device = false) => {
  const { url } = await scene.instance(0);
  return submitJob(url ?? '', { device });
};
/** A restart finds the switches as they were: they are taken back once the fault was seen. */
const healSwitches = { words: 'the cause goes', how: (scene: Scene) => scene.switches(0, {}) };

export const verdictRows: readonly FaultRow[] = [
  {
    id: 'stopped-for-long',
    source: 'issue "stopped process"',
    fault: 'the process stays stopped (SIGSTOP) for longer than `health.hangIdleMs`',
    stage: 'eager',
    inject: set({}, async (scene) => void signal(await scene.pid(0), 'SIGSTOP')),
    health: [
      says(0, 'not ready', SHORT_HANG_MS, { ready: false }),
      says(0, 'stopped-process', 4_000, { verdict: 'stopped-process', runtime: /stopped \(SIGSTOP\)/ }),
      otherProcess(3_000 + 2_500 + RESTART_MS),
    ],
    done: restarted('it is restarted when `health.hangIdleMs` is over', /stopped|answers no HTTP/),
    untouched: [others(1)],
    back: { gpus: [0], figureMs: 12_000 },
  },
  {
    id: 'hung-for-long',
    source: 'peers-serving F5, issue "hang"',
    fault: 'the event loop stays blocked, without use of CPU',
    stage: 'eager',
    inject: set({ hang_event_loop: true }),
    health: [
      says(0, 'not ready', SHORT_HANG_MS, { ready: false }),
      says(0, 'hang: stands still', 6_000, { verdict: 'hang', runtime: /stands still|answers no HTTP/ }),
      otherProcess(15_000),
    ],
    heal: healSwitches,
    done: restarted('it is restarted after its grace', /HTTP/),
    untouched: [others(1)],
    back: { gpus: [0], figureMs: 8_000 },
  },
  {
    id: 'busy-without-answer',
    source: 'comfyui.md 3 "C extension holding the GIL"',
    fault: 'the event loop stays blocked while the process uses CPU',
    stage: 'eager',
    inject: set({ hang_event_loop: true, log_lines_per_second: 4_000 }),
    health: [
      says(0, 'not ready', SHORT_HANG_MS, { ready: false }),
      says(0, 'busy-without-answer', 6_000, { verdict: 'busy-without-answer' }),
    ],
    heal: healSwitches,
    done: {
      words: 'it is given `health.hangGraceMs` (3 minutes by default), which is not over',
      events: [
        { type: 'fault.seen', target: 'instance 0' },
        { type: 'fault.gone', target: 'instance 0' },
      ],
      never: [{ type: 'instance.exit', target: 'instance 1' }],
    },
    untouched: [others(1)],
    back: { gpus: [0], figureMs: 12_000 },
  },
  {
    id: 'zombie-worker',
    source: 'peers-serving F6, peers-serving pain 2, comfyui.md 3 "exception outside the node try"',
    fault: 'the worker thread of a serving instance dies of an exception at the next job; HTTP answers 200',
    stage: 'eager',
    inject: set({ zombie_worker: true }, async (scene) => {
      await submit(scene);
      await scene.switches(0, {});
    }),
    health: [says(0, 'worker-dead, not ready', 15_000, { ready: false, verdict: 'worker-dead' }), otherProcess(20_000)],
    done: restarted('it is restarted at once', /worker thread is dead/),
    untouched: [others(1)],
    back: { gpus: [0], figureMs: 20_000 },
  },
  {
    id: 'worker-ended-in-silence',
    source: 'comfyui.md 3 "node calls sys.exit()"',
    fault: 'a node calls sys.exit(): the worker thread ends without a word, its job stays in the queue as running',
    stage: 'eager',
    inject: set({ silent_worker_death: true }, async (scene) => {
      await submit(scene);
      await scene.switches(0, {});
    }),
    health: [
      fact('worker-dead or job-without-progress, not ready', 15_000, async (scene) => {
        const { ready, verdicts } = await scene.instance(0);
        return (
          (!ready && verdicts.some(({ fault }) => fault === 'worker-dead' || fault === 'job-without-progress')) || JSON.stringify(verdicts)
        );
      }),
      otherProcess(20_000),
    ],
    done: restarted('it is restarted', /worker thread is dead|without progress/),
    untouched: [others(1)],
    back: { gpus: [0], figureMs: 20_000 },
  },
  {
    id: 'job-without-progress',
    source: 'comfyui.md 3 "node blocks"',
    fault: 'a node blocks for longer than `health.noProgressMs`, with no line in the log and no CPU used',
    stage: 'eager',
    inject: set({ job_hang_seconds: true }, async (scene) => void (await submit(scene))),
    health: [
      fact('one job runs', 2_000, async (scene) => (await scene.instance(0)).queue?.running === 1),
      says(0, 'job-without-progress, not ready (a job is watched after 30 s)', 45_000, { ready: false, verdict: 'job-without-progress' }),
    ],
    heal: healSwitches,
    done: restarted('it is restarted; that job is lost, and it is said', /without progress/),
    untouched: [others(1)],
    back: { gpus: [0], figureMs: 8_000 },
  },
  {
    id: 'websocket-gone',
    source: 'peers-serving F1, peers-serving pain 3',
    fault: 'no WebSocket stays open, for longer than a moment',
    stage: 'eager',
    inject: set({ drop_websockets: true }),
    health: [says(0, 'websocket-gone, not ready', 8_000, { ready: false, verdict: 'websocket-gone' })],
    heal: healSwitches,
    done: {
      words: 'workers are sent elsewhere; if it lasts, it is restarted once its jobs are done',
      events: [
        { type: 'fault.seen', target: 'instance 0', message: /WebSocket/ },
        { type: 'fault.gone', target: 'instance 0' },
      ],
      never: [{ type: 'action.quarantine-instance' }],
    },
    untouched: [others(1)],
    back: { gpus: [0], figureMs: 5_000 },
  },
  {
    id: 'cuda-error-in-a-job',
    source: 'comfyui.md 3 "sticky CUDA error", peers-serving F8, peers-serving pain 9',
    fault: 'a job of a user meets a CUDA error that sticks',
    stage: 'eager',
    inject: set({ job_error: 'cuda' }, async (scene) => {
      const end = await jobEnd(await submit(scene, true));
      if (end !== 'error') throw new Error(`the job ended with ${end}`);
      await scene.switches(0, {});
    }),
    health: [says(0, 'cuda-error, not ready', 4_000, { ready: false }), otherProcess(10_000)],
    done: restarted('it is restarted at once: every later job would fail', /CUDA/),
    untouched: [others(1)],
    back: { gpus: [0], figureMs: 10_000 },
  },
  {
    id: 'memory-of-the-card-in-a-job',
    source: 'comfyui.md 3 "torch.OutOfMemoryError"',
    fault: 'a job of a user runs out of memory of the card',
    stage: 'eager',
    inject: set({ job_error: 'oom' }, async (scene) => {
      const end = await jobEnd(await submit(scene, true));
      if (end !== 'error') throw new Error(`the job ended with ${end}`);
      await scene.switches(0, {});
    }),
    health: [says(0, 'job-out-of-memory, and ready', 4_000, { ready: true, verdict: 'job-out-of-memory' })],
    done: {
      words: 'cached models are given back (POST /free); no restart',
      events: [
        { type: 'fault.seen', target: 'instance 0' },
        { type: 'action.free-memory', target: 'instance 0' },
      ],
      never: [{ type: 'instance.exit' }, { type: 'action.restart-instance' }],
    },
    untouched: [others(1), pids(0)],
    back: { gpus: [0], figureMs: 4_000 },
  },
  {
    id: 'start-that-never-goes-on',
    source: 'predecessor 3, peers-serving F4',
    fault: 'a start stands still for longer than its grace',
    stage: 'eager',
    inject: set({ hang_at_startup: true }, async (scene) => {
      await scene.agent.cli('restart', '0', '--no-wait');
    }),
    health: [says(0, 'starting without progress', 7_000, { verdict: 'hang', runtime: /starting without progress/ })],
    heal: healSwitches,
    done: {
      words: 'it is named; when it lasts, the process is replaced',
      events: [
        { type: 'fault.seen', target: 'instance 0', message: /starting without progress/ },
        { type: 'instance.ready', target: 'instance 0' },
      ],
    },
    untouched: [others(1)],
    back: { gpus: [0], figureMs: 10_000 },
  },
  {
    id: 'memory-growth',
    source: 'peers-serving pain 10, pm2.md 4.6 "max_memory_restart"',
    fault: 'an instance keeps memory of every job, above `memory.budgetMb`',
    stage: 'eager',
    inject: set({ leak_mb_per_job: 120 }, async (scene) => {
      for (let count = 0; count < 2; count++) await jobEnd(await submit(scene));
      await scene.switches(0, {});
    }),
    health: [says(0, 'memory-growth, and it serves', 10_000, { verdict: 'memory-growth', layersPass: true }), otherProcess(45_000)],
    done: restarted('it is restarted between jobs', /above the budget/),
    untouched: [others(1)],
    back: { gpus: [0], figureMs: 50_000 },
  },
  {
    id: 'log-flood',
    source: 'issue "log flood", predecessor logs',
    fault: 'an instance writes log as fast as it can',
    stage: 'eager',
    inject: set({ log_lines_per_second: true }),
    health: [
      says(0, 'log-flood, and ready', 15_000, { ready: true, verdict: 'log-flood' }),
      fact('its logs stay within twice their budget (2 MiB)', 3_000, async (scene) => {
        const logs = join(scene.root, 'logs');
        const names = (await readdir(logs)).filter((name) => name.startsWith('comfyui-gpu0.log'));
        const sizes = await Promise.all(names.map(async (name) => (await stat(join(logs, name)).catch(() => ({ size: 0 }))).size));
        const sum = sizes.reduce((all, size) => all + size, 0);
        return sum <= 2 * 2 * 1024 * 1024 || `${sum} bytes`;
      }),
      goesOnSaying(1, 'and the probes of the other are not slowed', 1_000, { ready: true }),
    ],
    heal: healSwitches,
    done: {
      words: 'its log is rotated and cut; nothing is restarted',
      events: [{ type: 'fault.seen', target: 'instance 0' }],
      never: [{ type: 'instance.exit' }, { type: 'action.restart-instance' }],
    },
    untouched: [others(1), pids(0)],
    back: { gpus: [0], figureMs: 5_000 },
  },
];
