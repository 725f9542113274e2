import { z } from 'zod';
import { Moves } from './installation/lock.ts';
import { InstallProgress } from './installation/release.ts';
import { Time } from './observed.ts';
import { CleanupDocument } from './upkeep/cleanup.ts';

export const OperationKind = z.enum([
  'install',
  'reinstall',
  'update',
  'rollback',
  'bundle',
  'cleanup',
  'start',
  'stop',
  'restart',
  'drain',
]);
export type OperationKind = z.infer<typeof OperationKind>;

/** POST /v1/operations */
export const OperationRequest = z.strictObject({
  kind: OperationKind,
  /** Instances by index; absent means all (start, stop, restart, drain only). */
  gpus: z.array(z.int().min(0)).optional(),
  /** Let running jobs finish first (stop, restart). */
  drain: z.boolean().optional(),
  /** Drop caches first (reinstall). */
  clean: z.boolean().optional(),
  /** Refuse what agent.lock.json does not say (install, reinstall). */
  locked: z.boolean().optional(),
  /** Only find out what would change (update, rollback, cleanup). */
  dryRun: z.boolean().optional(),
  /** Pins to let go (update). */
  moves: Moves.optional(),
  /**
   * Path of an offline bundle, absolute, on the machine of the agent: the only source of the installation (install), or
   * the new file to write (bundle).
   */
  bundle: z.string().max(4_096).regex(/^\//, 'a bundle is named by an absolute path').optional(),
  /** Model files go in too (bundle). */
  withModels: z.boolean().optional(),
  /** Release to go back to; absent: the proved one before the current one (rollback). */
  release: z.string().max(100).optional(),
  /** Move all instances side by side, each when it is idle, instead of one after the other (rollback). */
  atOnce: z.boolean().optional(),
});
export type OperationRequest = z.infer<typeof OperationRequest>;

/** Long work in flight. One at a time per target; asking again gives the running one. */
export const OperationDocument = z.object({
  id: z.string(),
  kind: OperationKind,
  target: z.string(),
  state: z.enum(['running', 'succeeded', 'failed', 'cancelled']),
  startedAt: Time,
  finishedAt: Time.nullable(),
  /** One line: what is being done, or how it ended. */
  message: z.string(),
  progress: z.number().min(0).max(1).nullable(),
  install: InstallProgress.nullable(),
  /** What was deleted, or would be (cleanup). */
  cleanup: CleanupDocument.optional(),
  error: z
    .object({
      code: z.string(),
      message: z.string(),
      help: z.string(),
      retryable: z.boolean(),
      /** Facts for machines, such as the `conflicts` of requirements that do not fit. */
      details: z.record(z.string(), z.unknown()).optional(),
    })
    .nullable(),
});
export type OperationDocument = z.infer<typeof OperationDocument>;
