import { z } from 'zod';
import { Time } from '../observed.ts';

export const DiscoveredInstance = z.object({
  gpu: z.int(),
  uuid: z.string().nullable(),
  name: z.string(),
  ready: z.boolean(),
  host: z.string(),
  port: z.int(),
  url: z.string(),
  wsUrl: z.string(),
  /** fork: speaks the WebSocket submission protocol of stakeordie/ComfyUI; unknown before the first contact. */
  protocol: z.enum(['fork', 'upstream', 'unknown']),
  comfyuiVersion: z.string().nullable(),
  since: Time,
});
export type DiscoveredInstance = z.infer<typeof DiscoveredInstance>;

/** GET /v1/discovery and run/instances.json: what worker connectors need. */
export const DiscoveryDocument = z.object({
  schema: z.literal(1),
  machine: z.string(),
  generatedAt: Time,
  release: z.string().nullable(),
  capacity: z.object({ ready: z.int(), wanted: z.int() }),
  instances: z.array(DiscoveredInstance),
});
export type DiscoveryDocument = z.infer<typeof DiscoveryDocument>;

/** GET /v1/discovery/prometheus: HTTP service discovery form. */
export const PrometheusTargets = z.array(z.object({ targets: z.array(z.string()), labels: z.record(z.string(), z.string()) }));
export type PrometheusTargets = z.infer<typeof PrometheusTargets>;
