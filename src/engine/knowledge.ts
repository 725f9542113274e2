import type { GpuReading, MachineFacts } from '../domain/cards/gpu.ts';
import type { RosterCard } from '../domain/cards/roster.ts';
import type { XidEvent } from '../domain/cards/xid.ts';
import type { Config, Layout, Provenance, Secrets } from '../domain/configuration/config.ts';
import type { ErrorCode } from '../domain/errors/registry.ts';
import type { ModelStatus } from '../domain/health/health.ts';
import type { Hold } from '../domain/hold.ts';
import type { Lock } from '../domain/installation/lock.ts';
import type { InstallProgress, PackSpec } from '../domain/installation/release.ts';
import type { InstanceLaunch, PortLease } from '../domain/instances/instance.ts';
import type { Pm2State } from '../domain/instances/ownership.ts';
import { NOT_LOOKED_YET, type Observed, unknown } from '../domain/observed.ts';
import type { DesiredState, Intents, ObservedState } from '../domain/state/state.ts';
import { type MachineResources, NO_MACHINE_RESOURCES } from '../domain/upkeep/resources.ts';
import { cardsOfRoster } from '../plan/cards/roster.ts';
import type { DirectorySection } from '../plan/inputs/directory-config.ts';
import type { FailedInstallation } from '../plan/installation/installation.ts';
import type { Leaving } from '../plan/instances/leaving.ts';
import type { Unwanted } from '../plan/instances/unwanted.ts';
import type { RolloutStep } from '../plan/releases/rollout.ts';
import { InstanceRecords } from './instance-records.ts';

/** The configuration in force, and the edit that was refused if there is one. */
export interface LoadedConfiguration {
  readonly config: Config;
  readonly layout: Layout;
  readonly secrets: Secrets;
  readonly provenance: readonly Provenance[];
  readonly file: string | null;
  readonly warnings: readonly string[];
  readonly generation: number;
  readonly problem: string | null;
}

/** What the operator's other files ask for, and the edits that were refused. */
export interface Inputs {
  readonly packs: readonly PackSpec[];
  /** Whose file asks for them; null: there is none. */
  readonly packsOwner: string | null;
  readonly models: readonly RequiredModel[];
  /** Sections of comfy_dir_config.yaml and link targets of static-models.json. */
  readonly sections: readonly DirectorySection[];
  readonly links: readonly string[];
  readonly warnings: readonly string[];
  /** The first fault while a file is bad (or the shared repository cannot be read); the last good content stays in force. */
  readonly problem: InputProblem | null;
  /** agent.lock.json; null: there is none. */
  readonly lock: Lock | null;
  /** The fault of config_nodes.json or agent.lock.json: nothing is built from what is not understood. */
  readonly installationProblem: InputProblem | null;
}

export interface InputProblem {
  readonly code: ErrorCode;
  readonly message: string;
  readonly help: string;
}

export interface RequiredModel {
  /** Relative to the models directory, or absolute. */
  readonly path: string;
  readonly sha256: string | null;
  readonly sizeBytes: number | null;
  readonly requiredBy: readonly string[];
  /** Other places where it may lie, in the same form as `path`. */
  readonly places: readonly string[];
}

export const NO_INPUTS: Inputs = {
  packs: [],
  packsOwner: null,
  models: [],
  sections: [],
  links: [],
  warnings: [],
  problem: null,
  lock: null,
  installationProblem: null,
};

/** Everything the loop knows at this moment: one object, owned by the reconciler, read by everybody else. */
export interface Knowledge {
  configuration: LoadedConfiguration;
  inputs: Inputs;
  /** Changed by the state store alone. */
  readonly intents: Intents;
  readonly leases: readonly PortLease[];
  /** The newest attempt to read the cards. */
  gpus: Observed<GpuReading>;
  /** All cards that have a slot, by the newest reading that succeeded: none vanishes from the plan because the driver is silent. */
  cards: Observed<GpuReading>;
  /** The same as it is written down for the next agent. */
  roster: readonly RosterCard[];
  /** When the driver was last asked, and since when it tells nothing of cards that were there. Epoch ms. */
  gpusAskedAt: number;
  driverGoneSince: number | null;
  /** By PCI address, in order of time, the newest of each. */
  readonly xids: Map<string, readonly XidEvent[]>;
  /** By PCI address and code, "0000:3b:00 79": how many the kernel log told since the boot. */
  readonly xidTotals: Map<string, number>;
  /** Whether the kernel log is read. */
  kernelLog: Observed<null>;
  machine: Observed<MachineFacts>;
  models: Observed<readonly ModelStatus[]>;
  modelsCheckedAt: number | null;
  desired: DesiredState | null;
  observed: ObservedState | null;
  launches: ReadonlyMap<number, InstanceLaunch>;
  holds: readonly Hold[];
  readonly instances: InstanceRecords;
  /** When all processes were last gone through for those of instances that nobody hosts. Epoch ms. */
  leftoversAt: number;
  pm2: Pm2State;
  machineResources: MachineResources;
  /** The agent's own files that are not in their place, and why. For people. */
  unplaced: readonly string[];
  /** What is wrong with the agent's records. For people. */
  stateTroubles: readonly string[];
  /** What the cleanings of this agent removed, by area. */
  readonly cleaned: Map<string, { readonly files: number; readonly bytes: number }>;
  /** By card that was asked for: CPUs near it; null: nobody tells. Kept, whatever the driver says later. */
  readonly cpuLists: Map<string, string | null>;
  /** By how much the wall clock jumped since the agent began, all jumps together. */
  clockShiftMs: number;
  /** By GPU: instances that are about to leave, as the newest look decided. */
  leaving: ReadonlyMap<number, Leaving>;
  /** By name: processes that no instance asks for, as the newest look found. */
  unwanted: ReadonlyMap<string, Unwanted>;
  /** The agent is ending and takes its instances with it: all drain, none is started. */
  stopping: boolean;
  installProgress: InstallProgress | null;
  failedInstallation: FailedInstallation | null;
  /** How far the rollout is that `intents` names; null: there is none, or it was not looked at. */
  rollout: RolloutStep | null;
  /** Instances that did not become ready in the last rollout although it came to its end. */
  rolloutTrouble: string | null;
  /** `current` is being switched just now. */
  switching: boolean;
  modelPathsFile: string;
  /** Tells contents of that file apart: an instance that read another one runs with earlier settings. null: it was not made yet. */
  modelPathsDigest: string | null;
}

/** What outlives an agent. */
export type Remembered = Pick<Knowledge, 'intents' | 'leases' | 'roster'>;

export function emptyKnowledge(configuration: LoadedConfiguration, { intents, leases, roster }: Remembered): Knowledge {
  const notYet = unknown(NOT_LOOKED_YET);
  return {
    configuration,
    inputs: NO_INPUTS,
    intents,
    leases,
    gpus: notYet,
    cards: configuration.config.gpu.mode === 'actual' ? cardsOfRoster(roster, notYet) : notYet,
    roster,
    gpusAskedAt: 0,
    driverGoneSince: null,
    xids: new Map(),
    xidTotals: new Map(),
    kernelLog: notYet,
    machine: notYet,
    models: notYet,
    modelsCheckedAt: null,
    desired: null,
    observed: null,
    launches: new Map(),
    holds: [],
    instances: new InstanceRecords(),
    leftoversAt: Number.NEGATIVE_INFINITY,
    pm2: { state: 'answers', since: 0, reason: null },
    machineResources: NO_MACHINE_RESOURCES,
    unplaced: [],
    stateTroubles: [],
    cleaned: new Map(),
    cpuLists: new Map(),
    clockShiftMs: 0,
    leaving: new Map(),
    unwanted: new Map(),
    stopping: false,
    installProgress: null,
    failedInstallation: null,
    rollout: null,
    rolloutTrouble: null,
    switching: false,
    modelPathsFile: `${configuration.layout.instances}/extra_model_paths.yaml`,
    modelPathsDigest: null,
  };
}
