import { z } from 'zod';
import { Time } from '../observed.ts';

/** What one cleaning did, or would do, in one place. */
export const CleanedArea = z.object({
  area: z.enum(['outputs', 'temp', 'caches', 'releases', 'logs']),
  directory: z.string(),
  /** Entries that were looked at, and their size on disk. */
  found: z.object({ files: z.int(), bytes: z.int() }),
  removed: z.object({ files: z.int(), bytes: z.int() }),
  /** Why it went: by age, beyond the size, because the disk is low, superseded. */
  reasons: z.array(z.string()),
  /** The first of what went or would go, relative to the directory; at most 20. */
  examples: z.array(z.string()),
  /** Why nothing was done here, or what could not be removed. */
  problem: z.string().nullable(),
});
export type CleanedArea = z.infer<typeof CleanedArea>;

/** `agent cleanup`: what went, or with `dryRun` what would go. */
export const CleanupDocument = z.object({
  dryRun: z.boolean(),
  at: Time,
  freedBytes: z.int(),
  areas: z.array(CleanedArea),
});
export type CleanupDocument = z.infer<typeof CleanupDocument>;
