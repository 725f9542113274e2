import type { CardFacts } from '../../domain/cards/card.ts';
import type { GpuReading, MachineFacts } from '../../domain/cards/gpu.ts';
import type { Config } from '../../domain/configuration/config.ts';
import type { DesiredInstance, Incarnation, ProcessState } from '../../domain/instances/instance.ts';
import type { OwnerFacts, Pm2State } from '../../domain/instances/ownership.ts';
import type { Observed } from '../../domain/observed.ts';
import type { MachineResources, ResourceFacts } from '../../domain/upkeep/resources.ts';
import type { ProbeRecord } from '../health/assess.ts';
import type { Exit } from '../instances/restart-policy.ts';

/** What verdicts on one instance are made from. */
export interface VerdictFacts {
  readonly config: Config;
  readonly instance: DesiredInstance;
  /** What PM2 shows under its name; null: nothing. */
  readonly process: Observed<ProcessState | null>;
  readonly incarnation: Observed<Incarnation | null>;
  /** Records of the present incarnation, by probe name. */
  readonly probes: ReadonlyMap<string, ProbeRecord>;
  /** Ends of its incarnations, oldest first. */
  readonly exits: readonly Exit[];
  /** Jobs in the instance; null when not known. */
  readonly queue: { readonly running: number; readonly pending: number } | null;
  /** When its log last moved while it starts; null: not seen. Epoch ms. */
  readonly startMovedAt: number | null;
  /** null: it has no card, or nothing is known of it yet. */
  readonly card: CardFacts | null;
  readonly owner: OwnerFacts;
  /** Memory and log; null: not looked yet. */
  readonly resources: ResourceFacts | null;
  readonly now: number;
}

/** What verdicts on the whole machine are made from. */
export interface MachineVerdictFacts {
  readonly config: Config;
  readonly gpus: Observed<GpuReading>;
  /** All cards that were seen since the agent started. */
  readonly cards: Observed<GpuReading>;
  /** Since when the driver tells nothing of them. Epoch ms. */
  readonly driverGoneSince: number | null;
  readonly machine: Observed<MachineFacts>;
  readonly processes: Observed<readonly ProcessState[]>;
  readonly pm2: Pm2State;
  readonly resources: MachineResources;
  /** What each instance that is to run on a card says of its failure; null: it serves, or has not failed. */
  readonly failures: readonly (Failure | null)[];
  readonly now: number;
}

/** An end, or a canary that failed. */
export interface Failure {
  /** Its last words. */
  readonly words: string;
  /** Epoch ms. */
  readonly at: number;
}
