import { z } from 'zod';
import { Gpu, type GpuReading, MachineFacts } from '../cards/gpu.ts';
import type { ModelStatus } from '../health/health.ts';
import { Hold } from '../hold.ts';
import type { Target } from '../identity.ts';
import { Moves } from '../installation/lock.ts';
import { InstallationSpec, Release } from '../installation/release.ts';
import {
  DesiredInstance,
  type Incarnation,
  PortHolder,
  PortLease,
  ProcessState,
  Quarantine,
  type QueueReading,
} from '../instances/instance.ts';
import type { Leftover, Pm2State } from '../instances/ownership.ts';
import type { Observed } from '../observed.ts';

/** Operator verbs, kept in state/intents.json: desired state that no file holds. */
export const InstanceIntent = z.object({
  desired: z.enum(['running', 'stopped']).default('running'),
  cordoned: z.boolean().default(false),
  draining: z.boolean().default(false),
  restartRequestedAt: z.number().nullable().default(null),
  drainBeforeRestart: z.boolean().default(false),
  quarantined: z.string().nullable().default(null),
  quarantine: Quarantine.nullable().default(null),
});
export type InstanceIntent = z.infer<typeof InstanceIntent>;

/** `install` or `reinstall`, asked for by an operator and not over yet. */
export const InstallationIntent = z.object({
  /** A release made before this moment is not the one that was asked for. Epoch ms. */
  requestedAt: z.number(),
  /** `reinstall`: a new release whatever is in place. */
  fresh: z.boolean(),
  /** Drop caches first. */
  clean: z.boolean(),
  /** Pins to let go (`update`). */
  moves: Moves.nullable().default(null),
  /** The only source, an offline bundle. */
  bundle: z.string().nullable().default(null),
});
export type InstallationIntent = z.infer<typeof InstallationIntent>;

/** Instances being moved from one release to another. Written down before `current` is switched, so that it goes on after a crash. */
export const Rollout = z.object({
  from: z.string(),
  to: z.string(),
  /** Epoch ms. */
  startedAt: z.number(),
  /** Instances by GPU that served when it began: only these tell whether `to` works here. */
  serving: z.array(z.int()),
  /** forward: goes back by itself when an instance does not become ready; back: stays at `to` whatever happens. */
  direction: z.enum(['forward', 'back']),
  /** For people. */
  reason: z.string(),
  /** All instances that are idle at once, instead of one GPU after the other. */
  atOnce: z.boolean(),
  /** Why `from` is not to be used again; null: nothing is wrong with it. */
  rejected: z.string().nullable(),
});
export type Rollout = z.infer<typeof Rollout>;

/** The machine went back to this release: the loop builds no newer one until it is asked to. */
export const PinnedRelease = z.object({
  release: z.string(),
  reason: z.string(),
  /** What was asked for when its release was taken back: something else may be tried. null: only an operator moves on. */
  specDigest: z.string().nullable(),
});
export type PinnedRelease = z.infer<typeof PinnedRelease>;

export const Intents = z.object({
  /** Keyed by GPU index. */
  instances: z.record(z.string(), InstanceIntent).default({}),
  /** Kept until its release is current, or until it failed and that was told. */
  installation: InstallationIntent.nullable().default(null),
  rollout: Rollout.nullable().default(null),
  pinnedRelease: PinnedRelease.nullable().default(null),
});
export type Intents = z.infer<typeof Intents>;

/** What this agent knows and its files do not: whoever follows it would forget it. */
export interface Unsaved {
  /** For people, oldest first. */
  readonly what: readonly string[];
  /** Why it could not be written, the newest. */
  readonly reason: string;
}

/** What should be. */
export const DesiredState = z.object({
  generation: z.int(),
  enabled: z.boolean(),
  installation: InstallationSpec,
  specDigest: z.string(),
  /** Digest of agent.lock.json when it was made for this installation; null: there is none that says how it is to be. */
  lockDigest: z.string().nullable(),
  instances: z.array(DesiredInstance),
  /** Cards that are there and get no instance, with the wish that says so: the only ones whose process may go for that. */
  unused: z.array(z.object({ gpu: z.int(), uuid: z.string(), reason: z.string() })),
  /** Cards that have an instance and are not there, and what came in their place. */
  missing: z.array(
    z.object({
      gpu: z.int(),
      uuid: z.string(),
      name: z.string(),
      pciBusId: z.string().nullable(),
      replacedBy: z.string().nullable(),
      /** The driver's words where it cannot reach the card; null: it says nothing of it. */
      words: z.string().nullable(),
    }),
  ),
  /** How many were asked for, when fewer cards were found. */
  wanted: z.int(),
  warnings: z.array(z.string()),
});
export type DesiredState = z.infer<typeof DesiredState>;

/** What was last seen. Every part may be unknown; unknown is never a reason to act. */
export interface ObservedState {
  readonly at: number;
  readonly gpus: Observed<GpuReading>;
  readonly machine: Observed<MachineFacts>;
  readonly processes: Observed<readonly ProcessState[]>;
  /** Incarnations of the processes above, by name; null while there is no process, unknown while it is not shown. */
  readonly incarnations: ReadonlyMap<string, Observed<Incarnation | null>>;
  readonly release: Observed<Release | null>;
  /** Why the current release cannot be used, when it is there but not whole. */
  readonly releaseProblem: string | null;
  readonly leases: readonly PortLease[];
  /** Who listens on the leased (and first candidate) ports; absent: nobody. */
  readonly portHolders: Observed<readonly PortHolder[]>;
  /** pids that belong to us: the process trees of our PM2 entries. */
  readonly ownPids: ReadonlySet<number>;
  readonly models: Observed<readonly ModelStatus[]>;
  /** By GPU: processes of instances that nobody hosts. */
  readonly leftovers: ReadonlyMap<number, Leftover>;
  /** Of processes that the look before found unwanted, by name. */
  readonly unwantedQueues: ReadonlyMap<string, QueueReading>;
  readonly pm2: Pm2State;
  /** Targets of operations and actions in flight. */
  readonly busy: ReadonlySet<Target>;
}

/** GET /v1/state */
export const StateDocument = z.object({
  desired: DesiredState.nullable(),
  observed: z.object({
    at: z.string().nullable(),
    gpus: z.array(Gpu).nullable(),
    machine: MachineFacts.nullable(),
    processes: z.array(ProcessState).nullable(),
    release: Release.nullable(),
    leases: z.array(PortLease),
    portHolders: z.array(PortHolder).nullable(),
    unknown: z.array(z.string()),
  }),
  holds: z.array(Hold),
});
export type StateDocument = z.infer<typeof StateDocument>;
