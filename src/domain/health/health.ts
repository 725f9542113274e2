import { z } from 'zod';
import { Verdict } from '../faults/verdict.ts';
import { Hold } from '../hold.ts';
import { InstallProgress, PackStatus } from '../installation/release.ts';
import { InstanceDocument, LayerHealth, type LayerName } from '../instances/instance.ts';
import { Time } from '../observed.ts';

/** One answer of one probe about one incarnation (or about the machine, when `incarnation` is null). */
export interface ProbeResult {
  readonly probe: string;
  readonly layer: LayerName;
  readonly incarnation: string | null;
  readonly outcome: 'pass' | 'fail' | 'unknown';
  readonly reason: string | null;
  readonly at: number;
  readonly durationMs: number;
  /** Facts the probe brought along, such as queue lengths. */
  readonly facts?: Readonly<Record<string, unknown>>;
}

export const HealthStatus = z.enum(['disabled', 'healthy', 'degraded', 'unhealthy', 'unknown']);
export type HealthStatus = z.infer<typeof HealthStatus>;

export const ConfigurationHealth = z.object({
  ok: z.boolean(),
  /** Which file is bad and why; the last good configuration stays in force. */
  problem: z.string().nullable(),
  generation: z.int(),
});
export type ConfigurationHealth = z.infer<typeof ConfigurationHealth>;

/** GET /health: the agent itself lives. */
export const LivenessDocument = z.object({
  status: z.literal('ok'),
  version: z.string(),
  startedAt: Time,
  uptimeMs: z.int(),
  configuration: ConfigurationHealth,
});
export type LivenessDocument = z.infer<typeof LivenessDocument>;

/** GET /ready */
export const ReadyDocument = z.object({ ready: z.boolean(), capacity: z.string(), reasons: z.array(z.string()) });
export type ReadyDocument = z.infer<typeof ReadyDocument>;

/** GET /health/comfyui/installation */
export const InstallationDocument = z.object({
  status: z.enum(['disabled', 'none', 'installing', 'installed', 'degraded', 'broken', 'unknown']),
  ok: z.boolean(),
  reason: z.string().nullable(),
  release: z
    .object({
      id: z.string(),
      createdAt: Time,
      repository: z.string(),
      branch: z.string().nullable(),
      commit: z.string(),
      comfyuiVersion: z.string().nullable(),
      pythonVersion: z.string(),
      torch: z.string().nullable(),
      fallback: z.boolean(),
    })
    .nullable(),
  step: z.string().nullable(),
  progress: z.number(),
  bytes: z.int(),
  etaMs: z.int().nullable(),
  lastError: z.object({ code: z.string(), message: z.string(), help: z.string() }).nullable(),
  packs: z.array(PackStatus),
  warnings: z.array(z.string()),
  /** The installation in flight, or the last one that failed. */
  operation: InstallProgress.nullable(),
});
export type InstallationDocument = z.infer<typeof InstallationDocument>;

export const ModelStatus = z.object({
  path: z.string(),
  state: z.enum(['present', 'missing', 'corrupt', 'unknown']),
  /** Who asks for it: "models.required", "static-models.json", "workflow NAME". */
  requiredBy: z.array(z.string()),
  sizeBytes: z.int().nullable(),
  reason: z.string().nullable(),
});
export type ModelStatus = z.infer<typeof ModelStatus>;

/** GET /health/comfyui/models */
export const ModelsDocument = z.object({
  status: z.enum(['disabled', 'pass', 'fail', 'unknown']),
  reason: z.string().nullable(),
  checkedAt: Time.nullable(),
  required: z.int(),
  present: z.array(ModelStatus),
  missing: z.array(ModelStatus),
  corrupt: z.array(ModelStatus),
});
export type ModelsDocument = z.infer<typeof ModelsDocument>;

/** GET /health/comfyui/instances */
export const InstancesDocument = z.object({
  ready: z.boolean(),
  capacity: z.object({ ready: z.int(), wanted: z.int() }),
  reasons: z.array(z.string()),
  instances: z.array(InstanceDocument),
});
export type InstancesDocument = z.infer<typeof InstancesDocument>;

/** GET /health/comfyui: all layers in one answer. */
export const HealthDocument = z.object({
  status: HealthStatus,
  ready: z.boolean(),
  capacity: z.string(),
  reasons: z.array(z.string()),
  checkedAt: Time,
  layers: z.object({ installation: LayerHealth, runtime: LayerHealth, functional: LayerHealth, models: LayerHealth }),
  instances: z.array(InstanceDocument),
  holds: z.array(Hold),
  /** Faults of the machine as a whole; those of one instance are in its document. */
  verdicts: z.array(Verdict),
  configuration: ConfigurationHealth,
});
export type HealthDocument = z.infer<typeof HealthDocument>;
