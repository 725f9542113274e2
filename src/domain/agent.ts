import { z } from 'zod';
import type { PlanDocument } from './action.ts';
import { Gpu, MachineFacts } from './cards/gpu.ts';
import { Provenance } from './configuration/config.ts';
import type { DoctorDocument } from './doctor/doctor.ts';
import {
  HealthDocument,
  type InstallationDocument,
  type InstancesDocument,
  type LivenessDocument,
  type ModelsDocument,
  type ReadyDocument,
} from './health/health.ts';
import type { DriftDocument } from './installation/drift.ts';
import { Release, ReleaseFailure } from './installation/release.ts';
import type { DiscoveryDocument, PrometheusTargets } from './instances/discovery.ts';
import { type InstanceDocument, type InstancePatch, PortHolder, PortLease } from './instances/instance.ts';
import { type JournalEvent, JournalEvent as JournalEventSchema, type LogLine } from './journal.ts';
import { Time } from './observed.ts';
import { OperationDocument, type OperationRequest } from './operation.ts';
import type { StateDocument } from './state/state.ts';

/** What a build was made from: equal inputs of one commit give equal code. */
export const BuildInputs = z.object({
  /** The commit had no changes beside it. */
  clean: z.boolean(),
  /** sha256 of package-lock.json. */
  lock: z.string(),
  esbuild: z.string(),
  node: z.string(),
});
export type BuildInputs = z.infer<typeof BuildInputs>;

export const VersionDocument = z.object({
  agent: z.string(),
  commit: z.string().nullable(),
  node: z.string(),
  pm2: z.string(),
  licence: z.string(),
  /** x64 or arm64. */
  arch: z.string(),
  /** One file with everything inside, as opposed to a bundle that needs Node.js. */
  singleFile: z.boolean(),
  /** Of the state it writes; see domain/state/version.ts. */
  stateVersion: z.int(),
  /** null: it runs from source. */
  build: BuildInputs.nullable(),
});
export type VersionDocument = z.infer<typeof VersionDocument>;

/** `agent status`: the machine on one screen. */
export const StatusDocument = z.object({
  agent: z.object({
    running: z.boolean(),
    version: z.string(),
    pid: z.int().nullable(),
    startedAt: Time.nullable(),
    url: z.string().nullable(),
  }),
  machine: MachineFacts.nullable(),
  root: z.string(),
  health: HealthDocument,
  installation: z.object({
    status: z.string(),
    release: z.string().nullable(),
    summary: z.string(),
    packs: z.object({ installed: z.int(), failed: z.int() }),
  }),
  gpus: z.array(Gpu).nullable(),
  operations: z.array(OperationDocument),
  /** The newest journal entries of level warn and above. */
  recent: z.array(JournalEventSchema),
  /** When this was last true; older than now only if no agent is running. */
  asOf: Time,
});
export type StatusDocument = z.infer<typeof StatusDocument>;

export const GpusDocument = z.object({
  present: z.boolean().nullable(),
  reason: z.string().nullable(),
  gpus: z.array(
    Gpu.extend({
      instance: z.string().nullable(),
      owner: z.string().nullable(),
      /** Why it has no instance, or where it went; null: nothing is to be said. */
      note: z.string().nullable(),
    }),
  ),
});
export type GpusDocument = z.infer<typeof GpusDocument>;

export const PortsDocument = z.object({
  ports: z.array(
    z.object({ gpu: z.int(), tcpPort: z.int(), lease: PortLease.nullable(), holder: PortHolder.nullable(), ours: z.boolean().nullable() }),
  ),
});
export type PortsDocument = z.infer<typeof PortsDocument>;

export const ReleasesDocument = z.object({
  current: z.string().nullable(),
  releases: z.array(
    z.object({
      id: z.string(),
      complete: z.boolean(),
      current: z.boolean(),
      /** Whole, passed its trial start, and was not taken back: `agent rollback` can go to it. */
      proved: z.boolean(),
      /** Why it is not to be used; null: nothing is known against it. */
      failed: ReleaseFailure.nullable(),
      release: Release.nullable(),
      sizeBytes: z.int().nullable(),
    }),
  ),
});
export type ReleasesDocument = z.infer<typeof ReleasesDocument>;

export const ConfigDocument = z.object({ file: z.string().nullable(), values: z.array(Provenance), problem: z.string().nullable() });
export type ConfigDocument = z.infer<typeof ConfigDocument>;

export interface LogQuery {
  /** A GPU index, "agent", "install", "pm2" or "all". */
  readonly source: string;
  readonly lines: number;
  readonly follow: boolean;
  readonly since?: number;
}

/**
 * The facade that the HTTP API serves and the CLI speaks: in process inside the daemon, over the socket from the CLI.
 * Documents are immutable snapshots from a cache; none of these calls waits for ComfyUI.
 */
export interface Agent {
  version(): Promise<VersionDocument>;
  liveness(): Promise<LivenessDocument>;
  ready(): Promise<ReadyDocument>;
  health(): Promise<HealthDocument>;
  installation(): Promise<InstallationDocument>;
  instances(): Promise<InstancesDocument>;
  /** By index or UUID. @throws AgentError INSTANCE_NOT_FOUND */
  instance(reference: string): Promise<InstanceDocument>;
  models(): Promise<ModelsDocument>;
  status(): Promise<StatusDocument>;
  state(): Promise<StateDocument>;
  plan(): Promise<PlanDocument>;
  gpus(): Promise<GpusDocument>;
  /** Forgets missing cards, gives replacements their slots. @throws AgentError HELD where there is nothing to accept or no card is seen */
  acceptGpus(): Promise<GpusDocument>;
  ports(): Promise<PortsDocument>;
  discovery(): Promise<DiscoveryDocument>;
  prometheusTargets(): Promise<PrometheusTargets>;
  releases(): Promise<ReleasesDocument>;
  config(): Promise<ConfigDocument>;
  /** Looks afresh: the release in place beside its lock. */
  drift(): Promise<DriftDocument>;
  /** Looks afresh: takes up to 15 s where a remote does not answer. */
  doctor(): Promise<DoctorDocument>;
  metrics(): Promise<string>;
  operations(): Promise<readonly OperationDocument[]>;
  operation(id: string): Promise<OperationDocument>;
  /** Starts it, or gives the one running on the same target. */
  startOperation(request: OperationRequest): Promise<OperationDocument>;
  /** Every change of one operation, the present state first; ends with it. */
  followOperation(id: string, signal: AbortSignal): AsyncIterable<OperationDocument>;
  patchInstance(reference: string, patch: InstancePatch): Promise<InstanceDocument>;
  /** The newest `backlog` entries, then live. */
  events(options: { backlog: number; follow: boolean }, signal: AbortSignal): AsyncIterable<JournalEvent>;
  discoveryEvents(signal: AbortSignal): AsyncIterable<DiscoveryDocument>;
  logs(query: LogQuery, signal: AbortSignal): AsyncIterable<LogLine>;
}
