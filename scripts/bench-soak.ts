import { readdirSync } from 'node:fs';
import { setTimeout as pause } from 'node:timers/promises';
import { jobEnd, submitJob } from '../test/support/faults/jobs.ts';
import { openScene, type Scene, signal } from '../test/support/faults/scene.ts';
import { median, residentMb } from './measures.ts';

/**
 * `npm run bench:soak`: a day of a supervised machine in little more than an hour. All periods of the agent run SOAK_SPEED times
 * as fast; jobs come all the time, and once an hour of that day an instance is killed. Memory and file descriptors of the agent
 * and of PM2's daemon must stay what they were.
 *
 *   SOAK_HOURS   of the day, default 24     SOAK_SPEED   default 20     SOAK_GPUS   default 4
 */

const HOURS = Number(process.env['SOAK_HOURS'] ?? '24');
const SPEED = Number(process.env['SOAK_SPEED'] ?? '20');
const GPUS = Number(process.env['SOAK_GPUS'] ?? '4');
const HOUR_MS = 3_600_000 / SPEED;
const SAMPLES_PER_HOUR = 36;
/** Of the day: one job for each instance. */
const JOB_PERIOD_MS = 10_000 / SPEED;
/** Buffers fill and code is compiled before anything is compared. */
const WARM_UP_HOURS = 2;
const GOAL = 0.05;

/** Periods and limits of the defaults, so many times shorter; none below what the configuration allows. */
const scaled = (ms: number, least = 100): number => Math.max(least, Math.round(ms / SPEED));
const config = {
  health: {
    http: { periodMs: scaled(2_000), timeoutMs: 2_000 },
    websocket: { periodMs: scaled(10_000), timeoutMs: 5_000 },
    canary: { periodMs: scaled(600_000, 10_000), timeoutMs: 10_000 },
    restartWindowMs: scaled(600_000),
    backOff: { initialMs: scaled(10_000), maxMs: scaled(300_000) },
    quarantine: { coolDownMs: scaled(600_000, 1_000) },
  },
  gpu: { periodMs: scaled(10_000, 500) },
  cleanup: { periodMs: scaled(3_600_000), minAgeMs: scaled(600_000, 1_000), temp: { maxAgeMs: scaled(86_400_000) } },
  log: { maxFileMb: 1, keepFiles: 1 },
};

interface Sample {
  readonly agentMb: number;
  readonly agentFiles: number;
  readonly daemonMb: number;
  readonly daemonFiles: number;
}

const openFiles = (pid: number): number => readdirSync(`/proc/${pid}/fd`).length;

async function sample(scene: Scene): Promise<Sample> {
  const [agent, daemon] = [scene.agent.pid, await scene.pm2Pid()];
  return { agentMb: residentMb(agent), agentFiles: openFiles(agent), daemonMb: residentMb(daemon), daemonFiles: openFiles(daemon) };
}
const middle = (samples: readonly Sample[]): Sample => {
  const of = (name: keyof Sample): number => median(samples.map((each) => each[name]));
  return { agentMb: of('agentMb'), agentFiles: of('agentFiles'), daemonMb: of('daemonMb'), daemonFiles: of('daemonFiles') };
};

/** Jobs as workers give them, to whatever is ready. */
function work(scene: Scene): { readonly counts: Record<string, number>; stop(): Promise<void> } {
  const counts: Record<string, number> = {};
  let over = false;
  const lane = async (gpu: number): Promise<void> => {
    while (!over) {
      const { ready, url } = await scene.instance(gpu);
      // Whose process is killed meanwhile loses its job: that is counted too.
      const end =
        ready && url !== null
          ? await submitJob(url)
              .then(jobEnd)
              .catch(() => 'gone')
          : 'not ready';
      counts[end] = (counts[end] ?? 0) + 1;
      await pause(JOB_PERIOD_MS);
    }
  };
  const lanes = Promise.all(Array.from({ length: GPUS }, (_, gpu) => lane(gpu)));
  return {
    counts,
    stop: async () => {
      over = true;
      await lanes;
    },
  };
}

const scene = await openScene({ gpus: GPUS, config });
try {
  await scene.agent.untilReady();
  const jobs = work(scene);
  const hours: Sample[] = [];
  for (let hour = 0; hour < HOURS; hour++) {
    const samples: Sample[] = [];
    for (let count = 0; count < SAMPLES_PER_HOUR; count++) {
      await pause(HOUR_MS / SAMPLES_PER_HOUR);
      samples.push(await sample(scene));
      if (count === 0) signal(await scene.pid(hour % GPUS), 'SIGKILL');
    }
    const seen = middle(samples);
    hours.push(seen);
    console.log(
      `hour ${String(hour + 1).padStart(2)}: agent ${seen.agentMb.toFixed(1)} MB, ${seen.agentFiles} files; PM2 ${seen.daemonMb.toFixed(1)} MB, ${seen.daemonFiles} files; jobs ${JSON.stringify(jobs.counts)}`,
    );
  }
  await jobs.stop();
  const compared = Math.max(1, Math.floor((HOURS - WARM_UP_HOURS) / 4));
  const first = middle(hours.slice(WARM_UP_HOURS, WARM_UP_HOURS + compared));
  const last = middle(hours.slice(-compared));
  console.log(
    `\n| ${HOURS} hours at ${SPEED} times the speed, ${GPUS} instances | first quarter | last quarter | change | |\n|---|---|---|---|---|`,
  );
  let isFlat = true;
  for (const name of Object.keys(first) as (keyof Sample)[]) {
    const change = last[name] / first[name] - 1;
    const isMet = Math.abs(change) <= GOAL;
    isFlat &&= isMet;
    console.log(
      `| ${name} | ${first[name].toFixed(1)} | ${last[name].toFixed(1)} | ${(change * 100).toFixed(1)} % | ${isMet ? 'met' : '**missed**'} |`,
    );
  }
  process.exitCode = isFlat ? 0 : 1;
} finally {
  await scene.close();
}
