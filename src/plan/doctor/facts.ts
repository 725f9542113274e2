import type { GpuReading } from '../../domain/cards/gpu.ts';
import type { XidEvent } from '../../domain/cards/xid.ts';
import type { Config } from '../../domain/configuration/config.ts';
import type { ErrorCode } from '../../domain/errors/registry.ts';
import type { PortHolder } from '../../domain/instances/instance.ts';
import type { Observed } from '../../domain/observed.ts';
import type { Inodes } from '../../domain/upkeep/upkeep.ts';

/** What was tried, and how it ended: a failure brings its own remedy. */
export type Attempt<T> =
  | { readonly ok: true; readonly value: T }
  | { readonly ok: false; readonly code: ErrorCode; readonly message: string; readonly help: string };

/** The process of one instance, as far as its card is concerned. */
export interface InstanceCard {
  readonly gpu: number;
  readonly pid: number;
  /** Epoch ms. */
  readonly startedAt: number;
  /** With its children. */
  readonly pids: readonly number[];
  readonly visibleDevices: string | null;
}

/** Everything that the doctor looks at, as plain data. */
export interface DoctorFacts {
  readonly root: string;
  /** The defaults where the configuration itself is bad. */
  readonly config: Config;
  readonly configuration: { readonly file: string | null; readonly problems: readonly string[]; readonly warnings: readonly string[] };
  /** config_nodes.json and the other files of the shared folder; absent ones are not listed. */
  readonly inputs: readonly { readonly path: string; readonly problems: readonly string[]; readonly warnings: readonly string[] }[];
  /** Repositories of ComfyUI, the shared folder and the packs, credentials taken off. */
  readonly repositories: readonly { readonly label: string; readonly url: string }[];
  /** Asked whether the first repository answers; null: not asked. */
  readonly reachable: Attempt<string> | null;
  readonly ssh: {
    readonly program: string | null;
    readonly key: 'none' | 'usable' | { readonly problem: string; readonly help: string };
    readonly knownHosts: string;
  };
  /** Where the machine has the certificates of authorities; null: in none of the usual places. */
  readonly certificates: string | null;
  readonly rootWritable: Attempt<null>;
  readonly freeBytes: Observed<number>;
  /** Of the same disk; null: it makes as many as it needs, or does not say. */
  readonly inodes: Inodes | null;
  readonly python: Attempt<string>;
  readonly git: Attempt<string>;
  /** Absolute paths of programs, null where they are not on PATH. */
  readonly programs: { readonly uv: string | null; readonly ps: string | null };
  readonly gpus: Attempt<GpuReading>;
  /** The same under their slots, with the cards that have one and are missing. */
  readonly cards: Observed<GpuReading>;
  /** What the kernel log holds of cards. */
  readonly xids: Attempt<readonly XidEvent[]>;
  /** What the processes of our instances see. */
  readonly instanceCards: Attempt<readonly InstanceCard[]>;
  readonly portHolders: Attempt<readonly PortHolder[]>;
  /** Processes of our instances. */
  readonly ownPids: Observed<ReadonlySet<number>>;
  /** The agent that answers, when one runs. */
  readonly agentPid: number | null;
  readonly pm2Pid: Observed<number | null>;
  readonly unfinishedReleases: readonly string[];
  /** Files of the state that were damaged. */
  readonly setAside: readonly string[];
  /** Instances with processes that no PM2 daemon hosts, and their pids. */
  readonly unhosted: Observed<readonly { readonly name: string; readonly pids: readonly number[] }[]>;
  readonly now: number;
  /** Newest time that this root has seen, epoch ms; null on a fresh one. */
  readonly lastSeen: number | null;
}
