import { z } from 'zod';

/** The `health` section of the configuration. Durations are in milliseconds. */

const duration = z.int().min(0);
const text = z.string().min(1);

const Probe = (periodMs: number, timeoutMs: number, failureThreshold: number) =>
  z
    .strictObject({
      periodMs: z.int().min(100).default(periodMs),
      timeoutMs: z.int().min(50).default(timeoutMs),
      failureThreshold: z.int().min(1).default(failureThreshold).describe('failures in a row until it counts'),
      successThreshold: z.int().min(1).default(1).describe('passes in a row until it is over'),
    })
    .prefault({});

/** The gates and limits of supervision: startup, readiness, liveness, what happens after an end. */
export const HealthConfig = z.strictObject({
  minReady: z.int().min(0).default(1).describe('instances that must be ready for /ready and /health/comfyui to answer 200'),
  startupNoProgressMs: duration.default(300_000).describe('a starting instance whose log has not moved for this long is called stuck'),
  http: Probe(2_000, 2_000, 3).describe('readiness: GET /prompt'),
  websocket: Probe(10_000, 5_000, 3).describe('readiness: /ws opens and stays open'),
  hangGraceMs: duration
    .default(180_000)
    .describe('liveness: a process that answers no HTTP for this long is restarted; a C extension may hold the interpreter for minutes'),
  hangIdleMs: duration.default(30_000).describe('the same for one that is stopped, or uses no CPU at all meanwhile'),
  noProgressMs: duration
    .default(600_000)
    .describe('liveness: an instance is restarted when one job runs and neither log nor CPU time moves for this long'),
  canary: z
    .strictObject({
      enabled: z.boolean().default(true),
      timeoutMs: z.int().min(1_000).default(60_000),
      periodMs: z
        .int()
        .min(10_000)
        .nullable()
        .default(null)
        .describe('also every so often while there are no jobs; it makes ComfyUI forget the cached models of the last job. null: never'),
      workflow: text.nullable().default(null).describe('a graph in API format; default workflows/canary.json of the agent'),
    })
    .prefault({}),
  drainTimeoutMs: duration.default(600_000).describe('how long a drain waits for running jobs'),
  restartWindowMs: duration.default(600_000),
  maxRestartsInWindow: z
    .int()
    .min(1)
    .default(5)
    .describe('an instance that ends, or has to be restarted because of a fault, more often than this in the window is quarantined'),
  backOff: z
    .strictObject({
      afterExits: z.int().min(0).default(3).describe('so many ends in the window are followed by a start at once'),
      initialMs: duration.default(10_000).describe('pause after the next one; it doubles with each that follows'),
      maxMs: duration.default(300_000),
    })
    .prefault({}),
  quarantine: z
    .strictObject({
      coolDownMs: duration
        .nullable()
        .default(600_000)
        .describe('a quarantined instance is tried again after this time, which doubles each time it fails; null: only by hand'),
      maxCoolDownMs: duration.default(21_600_000),
    })
    .prefault({}),
});
