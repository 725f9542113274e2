import { z } from 'zod';
import { Time } from './observed.ts';

/** "What is not done, and why": part of every plan and of status. */
export const Hold = z.object({
  /** What is held: "installation", "instance 0", "machine". */
  target: z.string(),
  code: z.string(),
  reason: z.string(),
  help: z.string(),
  since: Time,
});
export type Hold = z.infer<typeof Hold>;
