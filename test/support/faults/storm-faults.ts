import { setTimeout as pause } from 'node:timers/promises';
import { isAlive } from '../agent/scene.ts';
import { eventually } from '../eventually.ts';
import { type Scene, signal } from './scene.ts';
import { strangerWaitingFor } from './stranger.ts';
import type { Witness } from './witness.ts';
import { HOST_LOST } from './witness-tally.ts';

export interface StormScene {
  readonly scene: Scene;
  readonly witness: Witness;
  readonly ports: readonly number[];
  /** 0 to 1, from the storm's seed. */
  readonly random: () => number;
}

/** A look every ten seconds, and two more that agree. */
const WEBSOCKET_MS = 16_000;
/** The figures of the issue; the hang's is that of the configuration's default timers. */
const LIMITS = { exit: 500, hang: 10_000, worker: 15_000, stranger: 2_000 };

export interface StormFault {
  readonly name: string;
  /** How often it is drawn, against the others. */
  readonly weight: number;
  /** Concerns the whole machine: nothing else is made meanwhile. */
  readonly whole: boolean;
  /** Makes it, and takes its cause away again. */
  readonly make: (storm: StormScene, gpu: number) => Promise<void>;
}

const pidOf = async ({ scene }: StormScene, gpu: number): Promise<number> =>
  eventually(`instance ${gpu} has a process`, async () => (await scene.instance(gpu)).pid, 20_000);

const kill = async (storm: StormScene, gpu: number): Promise<void> => {
  const pid = await pidOf(storm, gpu);
  storm.witness.order({ kind: 'fault', gpu, fault: 'exit', limitMs: LIMITS.exit });
  signal(pid, 'SIGKILL');
};

/** Switches for a while. */
const misbehaves =
  (fault: string, limitMs: number, values: Readonly<Record<string, unknown>>, forMs: (random: () => number) => number) =>
  async ({ scene, witness, random }: StormScene, gpu: number): Promise<void> => {
    witness.order({ kind: 'fault', gpu, fault, limitMs });
    await scene.switches(gpu, values);
    await pause(forMs(random));
    await scene.switches(gpu, {});
  };

/** Its worker thread dies at the next job of the stream; over when there is another process. */
const workerDies =
  (values: Readonly<Record<string, unknown>>) =>
  async (storm: StormScene, gpu: number): Promise<void> => {
    const { scene, witness } = storm;
    const pid = await pidOf(storm, gpu);
    // From now on it may be dead; for sure when jobs wait.
    witness.order({ kind: 'useless', gpu, fault: 'worker', limitMs: LIMITS.worker });
    await scene.switches(gpu, values);
    await eventually(
      'a job met it',
      async () => ((await scene.instance(gpu)).queue?.pending ?? 0) > 0 || (await pidOf(storm, gpu)) !== pid,
      20_000,
    );
    witness.order({ kind: 'fault', gpu, fault: 'worker', limitMs: LIMITS.worker });
    await scene.switches(gpu, {});
    try {
      await eventually('another process', async () => (await pidOf(storm, gpu)) !== pid, 60_000);
    } finally {
      witness.order({ kind: 'useless', gpu, fault: 'worker', limitMs: null });
    }
  };

export const stormFaults: readonly StormFault[] = [
  { name: 'exit-sigkill', weight: 4, whole: false, make: kill },
  {
    name: 'stopped-process',
    weight: 2,
    whole: false,
    make: async (storm, gpu) => {
      const pid = await pidOf(storm, gpu);
      storm.witness.order({ kind: 'fault', gpu, fault: 'stopped', limitMs: LIMITS.hang });
      signal(pid, 'SIGSTOP');
      await pause(2_000 + 14_000 * storm.random());
      signal(pid, 'SIGCONT');
    },
  },
  {
    name: 'event-loop-blocked',
    weight: 2,
    whole: false,
    make: misbehaves('hang', LIMITS.hang, { hang_event_loop: true }, (random) => 1_000 + 14_000 * random()),
  },
  { name: 'lock-held', weight: 1, whole: false, make: misbehaves('hang', LIMITS.hang, { gil_stall_seconds: 2.5 }, () => 3_000) },
  {
    name: 'crash-after-jobs',
    weight: 2,
    whole: false,
    make: misbehaves('exit', LIMITS.exit, { crash_after_jobs: 20, exit_signal: 'SIGSEGV' }, () => 2_000),
  },
  {
    name: 'websocket-dropped',
    weight: 1,
    whole: false,
    make: async ({ scene, witness, random }, gpu) => {
      await scene.switches(gpu, { drop_websockets: true });
      witness.order({ kind: 'useless', gpu, fault: 'websocket', limitMs: WEBSOCKET_MS });
      await pause(2_000 + 18_000 * random());
      await scene.switches(gpu, {});
      witness.order({ kind: 'useless', gpu, fault: 'websocket', limitMs: null });
    },
  },
  { name: 'zombie-worker', weight: 2, whole: false, make: workerDies({ zombie_worker: true }) },
  { name: 'worker-ended-in-silence', weight: 1, whole: false, make: workerDies({ silent_worker_death: true }) },
  {
    name: 'stranger-on-the-port',
    weight: 1,
    whole: false,
    make: async (storm, gpu) => {
      const stranger = await strangerWaitingFor(storm.ports[gpu] ?? 0);
      try {
        const pid = await pidOf(storm, gpu);
        storm.witness.order({ kind: 'fault', gpu, fault: 'stranger', limitMs: LIMITS.stranger });
        signal(pid, 'SIGKILL');
        await pause(3_000);
        const harm = stranger.harm();
        if (harm !== null) throw new Error(`the stranger on port ${storm.ports[gpu]}: ${harm}`);
      } finally {
        await stranger.end();
      }
    },
  },
  {
    name: 'pm2-killed',
    weight: 1,
    whole: true,
    make: async ({ scene, witness, ports }) => {
      const daemon = await scene.pm2Pid();
      // What it hosted serves on, drains, and is replaced: away on purpose for a while.
      for (const gpu of ports.keys()) witness.order({ kind: 'fault', gpu, fault: HOST_LOST, limitMs: LIMITS.hang });
      signal(daemon, 'SIGKILL');
      await eventually('another PM2 daemon', async () => {
        const next = await scene.pm2Pid().catch(() => daemon);
        return next !== daemon && isAlive(next);
      });
    },
  },
  {
    name: 'agent-killed',
    weight: 1,
    whole: true,
    make: async ({ scene, witness }) => {
      witness.order({ kind: 'agent', url: null });
      await scene.killAgent();
      await pause(500);
      await scene.startAgentAgain();
      witness.order({ kind: 'agent', url: scene.agent.url });
    },
  },
];

/** Draws one by weight. */
export function drawFault(random: () => number, faults: readonly StormFault[]): StormFault {
  let left = random() * faults.reduce((sum, { weight }) => sum + weight, 0);
  for (const fault of faults) {
    left -= fault.weight;
    if (left < 0) return fault;
  }
  throw new Error('there is no fault to draw');
}
