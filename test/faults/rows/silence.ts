import { setTimeout as pause } from 'node:timers/promises';
import { eventually } from '../../support/eventually.ts';
import { EXIT_MS, fact, goesOnSaying, HANG_MS, jobsEnd, others, pids, SHORT_HANG_MS, says, seen } from '../../support/faults/expect.ts';
import { jobEnd } from '../../support/faults/jobs.ts';
import type { FaultRow } from '../../support/faults/row.ts';
import type { Scene } from '../../support/faults/scene.ts';

/** The process of an instance is there and does not answer, or answers and does not work, or only seems so. */

const BACK_MS = 2_000;
const HANGS = /answers no HTTP|has not answered HTTP/;

const strikeSwitches = (gpu: number, values: Readonly<Record<string, unknown>>) => async (scene: Scene) => {
  await scene.switches(gpu, values);
  scene.strike();
};
const release = { words: 'it goes on', how: (scene: Scene) => scene.switches(0, {}) };
const leftAlone = (words = 'nothing: it goes on by itself'): FaultRow['done'] => ({
  words,
  events: [],
  never: [
    { type: 'instance.exit' },
    { type: 'action.restart-instance' },
    { type: 'action.stop-instance' },
    { type: 'action.quarantine-instance' },
  ],
});
/** Called not ready, and ready again, of the same process. */
const wentAndCame = (words?: string): FaultRow['done'] => ({
  ...leftAlone(words),
  events: [
    { type: 'instance.not-ready', target: 'instance 0' },
    { type: 'instance.ready', target: 'instance 0' },
  ],
});

/** Puts the switches, then restarts the instance by hand without waiting for it. */
const restartWith = (values: Readonly<Record<string, unknown>>) => async (scene: Scene) => {
  await scene.switches(0, values);
  scene.strike();
  const restart = await scene.agent.cli('restart', '0', '--no-wait');
  if (restart.code !== 0) throw new Error(restart.stderr);
};
const restartedByHand: FaultRow['done'] = {
  words: 'nothing by itself: what was asked for by hand is told to have failed',
  events: [
    { type: 'action.restart-instance', target: 'instance 0' },
    { type: 'instance.ready', target: 'instance 0' },
  ],
  never: [{ type: 'instance.exit', target: 'instance 1' }, { type: 'action.quarantine-instance' }],
};
/** Not ready, and this is said of it. */
const told = (what: string, figureMs: number, words: RegExp) =>
  fact(what, figureMs, async (scene) => {
    const instance = await scene.instance(0);
    return (!instance.ready && words.test(JSON.stringify(instance))) || JSON.stringify(instance);
  });
const healByRestart = {
  words: 'the cause goes, and a restart by hand',
  how: async (scene: Scene) => {
    await scene.switches(0, {});
    await scene.agent.cli('restart', '0', '--no-wait');
  },
};

export const silenceRows: readonly FaultRow[] = [
  {
    id: 'stopped-process',
    source: 'peers-serving F5, issue',
    fault: 'the process is stopped with SIGSTOP',
    stage: 'patient',
    inject: async (scene) => {
      const pid = await scene.pid(0);
      scene.strike();
      scene.freeze(pid);
    },
    health: [
      says(0, 'not ready: hung or stopped', HANG_MS, { ready: false, status: 'unhealthy', runtime: HANGS }),
      fact('and health itself answers within 100 ms', HANG_MS, async ({ agent }) => {
        const asked = performance.now();
        const { status } = await agent.get('/health/comfyui/instances/0');
        const took = performance.now() - asked;
        return (status === 503 && took < 100) || `${status} after ${took} ms`;
      }),
    ],
    heal: { words: 'SIGCONT', how: async (scene) => void process.kill(await scene.pid(0), 'SIGCONT') },
    done: wentAndCame(),
    untouched: [others(1), pids(0)],
    back: { gpus: [0], figureMs: 2_000 },
  },
  {
    id: 'event-loop-blocked',
    source: 'peers-serving F5',
    fault: 'the event loop of ComfyUI is blocked',
    stage: 'patient',
    inject: strikeSwitches(0, { hang_event_loop: true }),
    health: [says(0, 'not ready: no HTTP answer', HANG_MS, { ready: false, status: 'unhealthy', runtime: HANGS })],
    heal: release,
    done: wentAndCame(),
    untouched: [others(1), pids(0)],
    back: { gpus: [0], figureMs: 2_000 },
  },
  {
    id: 'lock-held-for-long',
    source: 'comfyui.md 3 "C extension holding the GIL"',
    fault: 'a C extension holds the interpreter lock for 6 s',
    stage: 'owned',
    inject: strikeSwitches(0, { gil_stall_seconds: 6 }),
    health: [says(0, 'not ready: no HTTP answer', SHORT_HANG_MS, { ready: false, runtime: HANGS })],
    done: wentAndCame('nothing: the process is given time (minutes), because it may be at work'),
    untouched: [others(1), pids(0)],
    back: { gpus: [0], figureMs: 8_000 },
  },
  {
    id: 'lock-held-for-a-moment',
    source: 'comfyui.md 3 "C extension holding the GIL"',
    fault: 'a C extension holds the interpreter lock for 0.8 s',
    stage: 'owned',
    inject: strikeSwitches(0, { gil_stall_seconds: 0.8 }),
    health: [goesOnSaying(0, 'ready, as before: one missed answer proves nothing', 2_500, { ready: true })],
    done: leftAlone(),
    untouched: [others(0, 1)],
    back: { gpus: [0], figureMs: 500 },
  },
  {
    id: 'http-errors',
    source: 'comfyui.md 3',
    fault: 'ComfyUI answers everything with 500',
    stage: 'owned',
    inject: strikeSwitches(0, { http_500: true }),
    health: [says(0, 'not ready: HTTP answered wrongly', SHORT_HANG_MS, { ready: false, runtime: /HTTP answered wrongly/ })],
    heal: release,
    done: wentAndCame(),
    untouched: [others(1), pids(0)],
    back: { gpus: [0], figureMs: BACK_MS },
  },
  {
    id: 'slow-answers',
    source: 'peers-serving pain 4',
    fault: 'every answer takes 0.2 s',
    stage: 'owned',
    inject: strikeSwitches(0, { http_delay_ms: 200 }),
    health: [goesOnSaying(0, 'ready, as before', 2_000, { ready: true })],
    heal: release,
    done: leftAlone(),
    untouched: [others(0, 1)],
    back: { gpus: [0], figureMs: 500 },
  },
  {
    id: 'websocket-dropped',
    source: 'peers-serving F1, peers-serving pain 1',
    fault: 'WebSockets are cut, HTTP and jobs are fine',
    stage: 'owned',
    inject: async (scene) => {
      await strikeSwitches(0, { drop_websockets: true })(scene);
      await pause(200);
      const end = await jobEnd(await scene.job(0));
      if (end !== 'success') throw new Error(`a job ended with ${end}`);
    },
    health: [goesOnSaying(0, 'jobs are told to end: nothing waits for a WebSocket', 500, { layersPass: true })],
    heal: release,
    done: leftAlone(),
    untouched: [others(1), pids(0), jobsEnd],
    back: { gpus: [0], figureMs: BACK_MS },
  },
  {
    id: 'job-blocks',
    source: 'comfyui.md 3 "node blocks"',
    fault: 'a node blocks for 4 s, deaf to interruption',
    stage: 'owned',
    inject: async (scene) => {
      await scene.switches(0, { job_hang_seconds: 4 });
      await pause(150);
      scene.strike();
      await scene.job(0);
      await scene.switches(0, { job_hang_seconds: 4 });
    },
    health: [
      seen('one job runs', 1_000, async (scene) => {
        const { queue } = await scene.instance(0);
        return queue?.running === 1 ? null : JSON.stringify(queue);
      }),
      goesOnSaying(0, 'ready and busy', 2_000, { ready: true }),
    ],
    done: leftAlone('nothing: no deadline has passed'),
    untouched: [others(0, 1), jobsEnd],
    back: { gpus: [0], figureMs: 5_000 },
  },
  {
    id: 'job-raises',
    source: 'comfyui.md 3 "node ValueError"',
    fault: 'a node of a job raises ValueError',
    stage: 'owned',
    inject: async (scene) => {
      await scene.switches(0, { job_error: 'value' });
      await pause(150);
      scene.strike();
      const end = await jobEnd(await scene.job(0));
      scene.jobs.length = 0;
      if (end !== 'error') throw new Error(`the job ended with ${end}`);
      await scene.switches(0, {});
    },
    health: [goesOnSaying(0, 'ready: a job that fails is no fault of the instance', 1_500, { ready: true })],
    done: leftAlone(),
    untouched: [others(0, 1)],
    back: { gpus: [0], figureMs: 500 },
  },
  {
    id: 'job-out-of-memory',
    source: 'comfyui.md 3 "torch.OutOfMemoryError"',
    fault: 'a job of a user runs out of memory of the card',
    stage: 'owned',
    inject: async (scene) => {
      await scene.switches(0, { job_error: 'oom' });
      await pause(150);
      scene.strike();
      const end = await jobEnd(await scene.job(0, { device: true }));
      scene.jobs.length = 0;
      if (end !== 'error') throw new Error(`the job ended with ${end}`);
      await scene.switches(0, {});
    },
    health: [goesOnSaying(0, 'goes on', 1_500, { ready: true })],
    done: leftAlone('no restart'),
    untouched: [others(1), pids(0)],
    back: { gpus: [0], figureMs: BACK_MS },
  },
  {
    id: 'out-of-memory-at-the-canary',
    source: 'comfyui.md 3 "torch.OutOfMemoryError"',
    fault: 'a new process runs out of memory at its very first job',
    stage: 'owned',
    inject: restartWith({ job_error: 'oom' }),
    health: [says(0, 'not ready, with torch\u2019s own words', 5_000, { ready: false, functional: /OutOfMemory|out of memory/i })],
    heal: healByRestart,
    done: restartedByHand,
    untouched: [others(1)],
    back: { gpus: [0], figureMs: 4_000 },
  },
  {
    id: 'cuda-error-at-the-canary',
    source: 'comfyui.md 3 "sticky CUDA error", peers-serving F8',
    fault: 'the CUDA context of a new process is broken',
    stage: 'owned',
    inject: restartWith({ job_error: 'cuda' }),
    health: [told('not ready, with CUDA\u2019s own words', 5_000, /CUDA error/)],
    heal: healByRestart,
    done: restartedByHand,
    untouched: [others(1)],
    back: { gpus: [0], figureMs: 4_000 },
  },
  {
    id: 'zombie-at-the-canary',
    source: 'peers-serving F6, comfyui.md 3 "exception outside the node try"',
    fault: 'a new process takes prompts and never runs one',
    stage: 'owned',
    inject: restartWith({ zombie_worker: true }),
    health: [told('not ready: the worker thread is dead', 6_000, /worker thread is dead/)],
    heal: healByRestart,
    done: restartedByHand,
    untouched: [others(1)],
    back: { gpus: [0], figureMs: 4_000 },
  },
  {
    id: 'failure-is-not-latched',
    source: 'peers-serving F7',
    fault: 'the backend was called bad, then it is restarted and fine',
    stage: 'owned',
    inject: async (scene) => {
      await restartWith({ job_error: 'cuda' })(scene);
      await eventually('it is called bad', async () => /CUDA/.test((await scene.instance(0)).layers.functional.reason ?? ''), 15_000);
      await scene.switches(0, {});
      scene.strike();
      process.kill(await scene.pid(0), 'SIGKILL');
    },
    health: [
      fact('ready answers 200 with both', 4_000, async ({ agent }) => {
        const { body } = await agent.get('/ready');
        return (body as { capacity: string }).capacity === '2/2' || JSON.stringify(body);
      }),
    ],
    done: {
      words: 'PM2 starts it again, and its canary counts anew',
      events: [
        { type: 'instance.exit', target: 'instance 0' },
        { type: 'instance.ready', target: 'instance 0' },
      ],
    },
    untouched: [others(1)],
    back: { gpus: [0], figureMs: 4_000 },
  },
  {
    id: 'slow-start',
    source: 'peers-serving F4, predecessor 3',
    fault: 'a start takes longer than the limit for silence, while its log moves',
    stage: 'owned',
    inject: restartWith({ startup_ms: 6_000 }),
    health: [
      says(0, 'starting', 3_000, { status: 'starting' }),
      goesOnSaying(0, 'starting, and never stuck', 4_500, { status: 'starting', ready: false }),
    ],
    done: {
      words: 'it is waited for',
      events: [{ type: 'action.restart-instance' }, { type: 'instance.ready', target: 'instance 0' }],
      never: [
        { type: 'instance.exit', message: /by itself/ },
        { type: 'instance.status', message: /unhealthy/ },
      ],
    },
    untouched: [others(1)],
    back: { gpus: [0], figureMs: 8_000 },
  },
  {
    id: 'stuck-start',
    source: 'predecessor 3',
    fault: 'a start stands still',
    stage: 'owned',
    inject: restartWith({ hang_at_startup: true }),
    health: [
      says(0, 'starting', 2_000, { status: 'starting' }),
      says(0, 'starting without progress', 6_500, { status: 'unhealthy', runtime: /starting without progress for \d+ s/ }),
    ],
    heal: release,
    done: {
      words: 'it is named; the process goes on when its cause goes',
      events: [
        { type: 'instance.status', target: 'instance 0', message: /unhealthy/ },
        { type: 'instance.ready', target: 'instance 0' },
      ],
      never: [{ type: 'instance.exit', message: /by itself/ }],
    },
    untouched: [others(1)],
    back: { gpus: [0], figureMs: 5_000 },
  },
  {
    id: 'no-fault',
    source: 'peers-serving F0',
    fault: 'none: 40 jobs, one after the other, straight to both instances',
    stage: 'owned',
    inject: async (scene) => {
      scene.strike();
      for (let count = 0; count < 20; count++) {
        await Promise.all([0, 1].map(async (gpu) => jobEnd(await scene.job(gpu))));
      }
    },
    health: [goesOnSaying(0, 'ready', 300, { ready: true })],
    done: leftAlone('nothing'),
    untouched: [others(0, 1), jobsEnd],
    back: { gpus: [0, 1], figureMs: EXIT_MS },
  },
];
