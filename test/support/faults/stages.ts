import { spawnSync } from 'node:child_process';
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { newRoot } from '../agent/agent.ts';
import { driverCards } from '../agent/cards.ts';
import { memoryGroup } from '../host/memory-group.ts';
import { mayUseKmsg } from '../kernel/log.ts';
import { openScene, type Scene, type SceneOptions } from './scene.ts';

/** Short timers: what matters to a row is the order of things, and that its figure follows from the timers. */
export const SHORT = {
  http: { periodMs: 300, timeoutMs: 1_000 },
  canary: { timeoutMs: 3_000 },
  startupNoProgressMs: 4_000,
  drainTimeoutMs: 10_000,
  // Rows follow each other on one agent.
  maxRestartsInWindow: 1_000,
  backOff: { afterExits: 1_000 },
};

const owned: SceneOptions = { gpus: 2, config: { health: SHORT, pm2: { killTimeoutMs: 2_000 } } };

async function withCards(): Promise<Required<Pick<SceneOptions, 'cards' | 'config'>>> {
  return { cards: await driverCards(), config: { ...owned.config, gpu: { periodMs: 1_000 } } };
}

const SECRETS = {
  AGENT_TOKEN: 'token-3f1c9a',
  HF_TOKEN: 'hf-77aa01',
  AWS_SECRET_ACCESS_KEY_ENCODED: 'aws-1d_SLASH_9c',
  DATABASE_PASSWORD: 'db-90ef12',
  CUDA_VISIBLE_DEVICES: '77',
};

/** State, logs and outputs lie on disks of so many MiB that only the agent and its children see. */
export async function smallDisks(mebibytes: number): Promise<Required<Pick<SceneOptions, 'root' | 'prefix' | 'config' | 'hidden'>>> {
  const root = await newRoot();
  const disks = ['state', 'logs', 'shared/outputs'].map((path) => join(root, path));
  await Promise.all(disks.map((path) => mkdir(path, { recursive: true, mode: 0o700 })));
  const mounts = `for disk in "$1" "$2" "$3"; do mount -t tmpfs -o size=${mebibytes}m,mode=700 tmpfs "$disk" || exit 1; done; shift 3; exec "$@"`;
  return {
    root,
    prefix: ['unshare', '-m', 'sh', '-c', mounts, 'sh', ...disks],
    config: { disk: { warnFreeMb: 1, minFreeMb: 0, warnFullWithinMs: 0 }, cleanup: { whenLow: [] } },
    hidden: true,
  };
}

/** Timers for what lasts, which is acted on soon. */
export const EAGER = {
  ...SHORT,
  hangGraceMs: 6_000,
  hangIdleMs: 2_500,
  noProgressMs: 4_000,
  websocket: { periodMs: 1_000, timeoutMs: 2_000, failureThreshold: 3 },
};

/** Kinds of machine that rows run on. */
const stages = {
  /** PM2's daemon is the agent's own, timers are short. */
  owned: async () => owned,
  /** Timers as the configuration's defaults have them. */
  patient: async (): Promise<SceneOptions> => ({ gpus: 2 }),
  /** PM2's daemon is another unit; two cards by a recorded nvidia-smi. */
  external: async (): Promise<SceneOptions> => {
    const { cards, config } = await withCards();
    return { cards, external: true, config: { ...config, pm2: { mode: 'external', killTimeoutMs: 2_000 } } };
  },
  /** Two cards by a recorded nvidia-smi. */
  cards: withCards,
  /** The same, and the kernel log of this machine. */
  kernelLog: withCards,
  /** What lasts is acted on soon. */
  eager: async (): Promise<SceneOptions> => ({
    gpus: 2,
    config: {
      health: EAGER,
      pm2: { killTimeoutMs: 2_000 },
      log: { maxFileMb: 1, keepFiles: 1, floodMbPerSecond: 1 },
      memory: { budgetMb: 160 },
    },
  }),
  /** A process may be put into a memory cgroup with a limit. */
  memoryLimit: async () => owned,
  /** A daemon that answers nothing is soon replaced. */
  shortDeaf: async (): Promise<SceneOptions> => ({
    ...owned,
    config: { ...owned.config, pm2: { deafTimeoutMs: 3_000, killTimeoutMs: 2_000 } },
  }),
  /** Quarantine comes soon and does not last. */
  shortQuarantine: async (): Promise<SceneOptions> => ({
    gpus: 2,
    config: {
      health: { ...SHORT, maxRestartsInWindow: 2, quarantine: { coolDownMs: 3_000 } },
      pm2: { restartDelayMs: 50, killTimeoutMs: 2_000 },
    },
  }),
  /** Few ends are enough for quarantine. */
  strict: async (): Promise<SceneOptions> => ({
    gpus: 2,
    config: { health: { ...SHORT, maxRestartsInWindow: 2 }, pm2: { restartDelayMs: 50, killTimeoutMs: 2_000 } },
  }),
  /** The second end is followed by a pause. */
  backOff: async (): Promise<SceneOptions> => ({
    ...owned,
    config: { ...owned.config, health: { ...SHORT, backOff: { afterExits: 1, initialMs: 4_000, maxMs: 4_000 } } },
  }),
  /** The agent's environment is full of what no instance may see. */
  secrets: async (): Promise<SceneOptions> => ({ ...owned, environment: SECRETS }),
  /** State, logs and outputs lie on small disks that only the agent and its children see. */
  smallDisks: async (): Promise<SceneOptions> => {
    const { config, ...disks } = await smallDisks(4);
    return { ...owned, ...disks, config: { ...owned.config, ...config } };
  },
} as const;
export type StageName = keyof typeof stages;

export const secretValues = (): readonly string[] => Object.values(SECRETS).filter((value) => value.length > 2);

const triedMemory = await memoryGroup(64).catch((error: unknown) => ({ refused: String(error) }));
if (!('refused' in triedMemory)) await triedMemory.close();
const refusedMemory = 'refused' in triedMemory ? triedMemory.refused : null;

/** Why a stage cannot be had on this machine; null: it can. */
export const whyNot = (name: StageName): string | null =>
  name === 'kernelLog' && !mayUseKmsg()
    ? '/dev/kmsg may not be written here'
    : name === 'smallDisks' && (process.getuid?.() !== 0 || spawnSync('unshare', ['-m', 'true']).status !== 0)
      ? 'a small disk needs root and the right to mount'
      : name === 'memoryLimit'
        ? refusedMemory
        : null;

export async function openStage(name: StageName): Promise<Scene> {
  const scene = await openScene(await stages[name]());
  await scene.agent.untilReady([0, 1]);
  return scene;
}
