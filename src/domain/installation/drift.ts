import { z } from 'zod';
import { Time } from '../observed.ts';

/** One thing that is not as agent.lock.json has it. */
export const Drift = z.object({
  part: z.enum(['core', 'pack', 'package', 'model']),
  name: z.string(),
  /** What is different, in one line. */
  message: z.string(),
});
export type Drift = z.infer<typeof Drift>;

/** GET /v1/drift and `agent install --verify`: the release in place beside the lock it was built by. Nothing is touched. */
export const DriftDocument = z.object({
  release: z.string(),
  /** Nothing differs, and everything could be looked at. */
  ok: z.boolean(),
  drift: z.array(Drift),
  /** What could not be looked at, with the reason. */
  unknown: z.array(z.string()),
  /** How much was compared. */
  compared: z.object({ sources: z.int(), packages: z.int(), models: z.int() }),
  checkedAt: Time,
});
export type DriftDocument = z.infer<typeof DriftDocument>;
