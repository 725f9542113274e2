import { z } from 'zod';
import { FaultKind, Verdict } from '../faults/verdict.ts';
import { Time } from '../observed.ts';

/** One run of an instance. Probe results belong to an incarnation and die with it. */
export const Incarnation = z.object({
  pid: z.int().positive(),
  /** Start time of the process in clock ticks since boot, from /proc: tells a reused pid apart. */
  startTicks: z.string(),
  startedAt: Time,
});
export type Incarnation = z.infer<typeof Incarnation>;

export const incarnationKey = (incarnation: Pick<Incarnation, 'pid' | 'startTicks'>): string =>
  `${incarnation.pid}@${incarnation.startTicks}`;

/** The present quarantine of an instance, or the last one. Times are epoch ms. */
export const Quarantine = z.object({
  fault: FaultKind,
  at: z.number(),
  /** One after the other without a long time in between: each lasts twice as long. */
  count: z.int().min(1),
  /** It has been started to see whether it works. */
  trialAt: z.number().nullable(),
  /** A trial succeeded. */
  releasedAt: z.number().nullable(),
});
export type Quarantine = z.infer<typeof Quarantine>;

/** An instance as it should be. */
export const DesiredInstance = z.object({
  gpu: z.int().min(0),
  uuid: z.string().nullable(),
  gpuName: z.string(),
  /** PM2 process name. */
  name: z.string(),
  mode: z.enum(['gpu', 'cpu']),
  /** Value of CUDA_VISIBLE_DEVICES; empty for CPU instances. */
  visibleDevices: z.string(),
  desired: z.enum(['running', 'stopped']),
  cordoned: z.boolean(),
  draining: z.boolean(),
  /** Set by `restart`: an incarnation that began before this moment is to be replaced. Epoch ms. */
  restartRequestedAt: z.number().nullable(),
  drainBeforeRestart: z.boolean(),
  /** Why; null: it is not. */
  quarantined: z.string().nullable(),
  quarantine: Quarantine.nullable(),
});
export type DesiredInstance = z.infer<typeof DesiredInstance>;

/** Right of an instance to a TCP port, kept over restarts in state/leases.json. */
export const PortLease = z.object({
  gpu: z.int(),
  tcpPort: z.int(),
  /** ports.first at the time: a lease made for another base is given up. */
  first: z.int(),
  since: Time,
});
export type PortLease = z.infer<typeof PortLease>;

/** What was last read of the queue of one process. */
export interface QueueReading {
  /** When the question was sent. Epoch ms. */
  readonly askedAt: number;
  /** null: there was no answer. */
  readonly jobs: number | null;
}

/** Who listens on a port. */
export const PortHolder = z.object({ tcpPort: z.int(), pid: z.int().nullable(), command: z.string().nullable() });
export type PortHolder = z.infer<typeof PortHolder>;

/**
 * What one PM2 entry runs: the input of ecosystem.template.js. All paths absolute and without symlinks in the release part.
 */
export interface InstanceLaunch {
  readonly name: string;
  readonly gpu: number;
  readonly python: string;
  readonly checkout: string;
  /** Arguments after main.py. */
  readonly arguments: readonly string[];
  readonly environment: Readonly<Record<string, string>>;
  readonly logFile: string;
  readonly killTimeoutMs: number;
  readonly restartDelayMs: number;
  readonly release: string;
  /** How the kernel is to schedule it; absent: like the PM2 daemon. */
  readonly scheduling?: { readonly cpus: string | null; readonly nice: number };
}

/** The part of a PM2 app declaration that an entry may use; checked for the built-in and for a user's template alike. */
export const Pm2Entry = z.strictObject({
  name: z.string().regex(/^comfyui-gpu\d+$/),
  script: z.string(),
  args: z.array(z.string()),
  interpreter: z.literal('none'),
  cwd: z.string(),
  env: z.record(z.string(), z.string()),
  filter_env: z.tuple([z.literal('')]),
  autorestart: z.boolean(),
  restart_delay: z.int().min(0),
  max_restarts: z.int().min(0),
  min_uptime: z.int().min(0),
  kill_timeout: z.int().min(0),
  treekill: z.boolean(),
  out_file: z.string(),
  error_file: z.string(),
  merge_logs: z.boolean(),
  pmx: z.literal(false),
  vizion: z.literal(false),
});
export type Pm2Entry = z.infer<typeof Pm2Entry>;

/** A process as PM2 shows it. */
export const ProcessState = z.object({
  name: z.string(),
  /** PM2's word: online, stopping, stopped, launching, errored, "waiting restart". */
  status: z.string(),
  /** null while there is no process, also when PM2 says online without a pid. */
  pid: z.int().positive().nullable(),
  /** PM2's own count of respawns. */
  respawns: z.int(),
  /** Digest of the entry the process was started from (environment variable AGENT_ENTRY_DIGEST). */
  entryDigest: z.string().nullable(),
  release: z.string().nullable(),
  /** Port it was told to listen on (AGENT_PORT): its lease may name another by now. */
  tcpPort: z.int().nullable(),
  /** Time of the last start by PM2, epoch ms. */
  startedAt: z.number().nullable(),
});
export type ProcessState = z.infer<typeof ProcessState>;

/** What PM2 told over its bus. */
export type ProcessEvent =
  | { readonly kind: 'online'; readonly name: string; readonly at: number }
  | {
      readonly kind: 'exit';
      readonly name: string;
      /** null: it was not told. */
      readonly pid: number | null;
      readonly at: number;
      readonly exitCode: number | null;
      readonly signal: string | null;
      /** True when a stop was under way: not a crash. */
      readonly requested: boolean;
    }
  | { readonly kind: 'daemon-lost'; readonly at: number };

export const InstanceStatus = z.enum([
  'disabled',
  'installing',
  'starting',
  'healthy',
  'degraded',
  'unhealthy',
  'draining',
  'stopped',
  'quarantined',
  'unknown',
]);
export type InstanceStatus = z.infer<typeof InstanceStatus>;

export const LayerName = z.enum(['installation', 'runtime', 'functional', 'models']);
export type LayerName = z.infer<typeof LayerName>;

export const LayerHealth = z.object({
  status: z.enum(['pass', 'fail', 'unknown']),
  /** Names the cause and the next step; null when the layer passes. */
  reason: z.string().nullable(),
  checkedAt: Time.nullable(),
});
export type LayerHealth = z.infer<typeof LayerHealth>;

/** The instance document of the interface. */
export const InstanceDocument = z.object({
  gpu: z.int(),
  uuid: z.string().nullable(),
  gpuName: z.string(),
  name: z.string(),
  status: InstanceStatus,
  ready: z.boolean(),
  url: z.string().nullable(),
  wsUrl: z.string().nullable(),
  host: z.string().nullable(),
  port: z.int().nullable(),
  pid: z.int().nullable(),
  startedAt: Time.nullable(),
  release: z.string().nullable(),
  layers: z.object({ installation: LayerHealth, runtime: LayerHealth, functional: LayerHealth, models: LayerHealth }),
  restarts: z.object({ total: z.int(), inWindow: z.int(), lastReason: z.string().nullable() }),
  cordoned: z.boolean(),
  hold: z.string().nullable(),
  /** Jobs running and waiting in this instance; null when not known. */
  queue: z.object({ running: z.int(), pending: z.int() }).nullable(),
  warnings: z.array(z.string()),
  /** Every fault of the instance and of its card as judged now, the worst first. */
  verdicts: z.array(Verdict),
});
export type InstanceDocument = z.infer<typeof InstanceDocument>;

/** What an operator may ask of one instance over HTTP. */
export const InstancePatch = z
  .strictObject({
    desired: z.enum(['running', 'stopped']).optional(),
    drain: z.boolean().optional(),
    cordoned: z.boolean().optional(),
    quarantined: z.literal(false).optional(),
  })
  .refine((patch) => Object.keys(patch).length > 0, 'name at least one of desired, drain, cordoned, quarantined');
export type InstancePatch = z.infer<typeof InstancePatch>;

/** Loopback when the instance listens everywhere. */
export function probeHost(listen: string): string {
  const first = listen.split(',')[0]?.trim() ?? '127.0.0.1';
  if (first === '0.0.0.0' || first === '') return '127.0.0.1';
  if (first === '::') return '[::1]';
  return first.includes(':') ? `[${first}]` : first;
}
