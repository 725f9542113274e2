import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { eventually } from '../test/support/eventually.ts';
import { submitJob } from '../test/support/faults/jobs.ts';
import { openScene, type Scene, signal } from '../test/support/faults/scene.ts';
import { strangerWaitingFor } from '../test/support/faults/stranger.ts';
import { median } from './measures.ts';

/**
 * How soon health says so, with the timers of the defaults: `npm run bench:faults`. Each figure is the median of some runs on
 * the simulator; what it must be is in docs/figures.md.
 */

const RUNS = Number(process.env['BENCH_RUNS'] ?? '3');
/** Only figures whose words match. */
const WANTED = new RegExp(process.env['BENCH_FIGURES'] ?? '');
const STARTUP_MS = 1_000;

const rows: string[] = [];

/** Runs it so often, heals after each, and prints the median against its goal. */
async function figure(scene: Scene, what: string, goalMs: number, run: () => Promise<number>): Promise<void> {
  if (!WANTED.test(what)) return;
  const times: number[] = [];
  for (let count = 0; count < RUNS; count++) {
    times.push(await run());
    for (const gpu of [0, 1]) await scene.switches(gpu, {});
    await scene.agent.untilReady();
    // One that was stuck has seen its switches change before they change again.
    await pause(300);
  }
  const ms = median(times);
  const line = `| ${what} | ${(ms / 1_000).toFixed(2)} s (${times.map((each) => (each / 1_000).toFixed(2)).join(', ')}) | at most ${goalMs / 1_000} s | ${ms <= goalMs ? 'met' : '**missed**'} |`;
  rows.push(line);
  console.log(line);
}

/** From now until the instance is not called ready. */
async function untilRed(scene: Scene, gpu: number, from = performance.now()): Promise<number> {
  await eventually(
    'it is not ready',
    async () => {
      const { status, body } = await scene.agent.get(`/health/comfyui/instances/${gpu}`);
      if (status !== 503) throw new Error(JSON.stringify(body));
      return true;
    },
    60_000,
  );
  return performance.now() - from;
}

async function detection(scene: Scene): Promise<void> {
  await figure(scene, 'exit to not ready', 500, async () => {
    signal(await scene.pid(0), 'SIGKILL');
    return untilRed(scene, 0);
  });
  await figure(scene, 'stopped process to not ready', 10_000, async () => {
    const pid = await scene.pid(0);
    signal(pid, 'SIGSTOP');
    const took = await untilRed(scene, 0);
    signal(pid, 'SIGCONT');
    return took;
  });
  await figure(scene, 'blocked event loop to not ready', 10_000, async () => {
    await scene.switches(0, { hang_event_loop: true });
    return untilRed(scene, 0);
  });
  await figure(scene, 'held interpreter lock to not ready', 10_000, async () => {
    await scene.switches(0, { gil_stall_seconds: 12 });
    return untilRed(scene, 0);
  });
  await figure(scene, 'dead worker thread with a prompt pending to not ready', 15_000, async () => {
    await scene.switches(0, { zombie_worker: true });
    await pause(150);
    const began = performance.now();
    await submitJob((await scene.instance(0)).url ?? '');
    return untilRed(scene, 0, began);
  });
  await figure(scene, 'worker thread ended by sys.exit in a node to not ready', 15_000, async () => {
    await scene.switches(0, { silent_worker_death: true });
    await pause(150);
    const began = performance.now();
    await submitJob((await scene.instance(0)).url ?? '');
    return untilRed(scene, 0, began);
  });
  await figure(scene, 'stranger on the port to told', 2_000, async () => {
    const { port, pid } = await scene.instance(0);
    const stranger = await strangerWaitingFor(port ?? 0);
    const began = performance.now();
    signal(pid ?? 0, 'SIGKILL');
    await eventually('it is told', async () => new RegExp(`pid ${stranger.pid}\\b`).test(JSON.stringify(await scene.instance(0))), 60_000);
    const took = performance.now() - began;
    await stranger.end();
    return took;
  });
}

/** SIGKILL of the PM2 daemon of a unit of its own, which is started again at once, to serving; less an instance's own start. */
async function pm2Killed(): Promise<void> {
  const scene = await openScene({
    gpus: 2,
    external: true,
    config: { pm2: { mode: 'external' } },
    environment: { SIM_STARTUP_MS: String(STARTUP_MS) },
  });
  try {
    await scene.agent.untilReady();
    await figure(
      scene,
      `SIGKILL of PM2's daemon under two units to all ready, minus own start (${STARTUP_MS / 1_000} s)`,
      2_000,
      async () => {
        const [daemon, before] = [await scene.pm2Pid(), await readFile(join(scene.root, 'state/pm2/pm2.pid'), 'utf8')];
        const pids = (await scene.health()).instances.map(({ pid }) => pid);
        const began = performance.now();
        signal(daemon, 'SIGKILL');
        await scene.startPm2();
        if ((await readFile(join(scene.root, 'state/pm2/pm2.pid'), 'utf8')) === before) throw new Error('the same daemon');
        // What it hosted serves on until it is replaced: that is the end of it.
        await eventually(
          'all are ready on a process of the new daemon',
          async () => (await scene.health()).instances.every(({ ready, pid }, index) => ready && pid !== pids[index]),
          60_000,
        );
        return performance.now() - began - STARTUP_MS;
      },
    );
  } finally {
    await scene.close();
  }
}

const scene = await openScene({ gpus: 2, config: { health: { maxRestartsInWindow: 1_000, backOff: { afterExits: 1_000 } } } });
try {
  await scene.agent.untilReady();
  await detection(scene);
} finally {
  await scene.close();
}
await pm2Killed();
console.log(`\n| figure | measured (each run) | goal | |\n|---|---|---|---|\n${rows.join('\n')}`);
