import { z } from 'zod';
import type { ErrorCode } from './errors/registry.ts';
import type { Target } from './identity.ts';
import { Time } from './observed.ts';

/** Holds that are no error: what is waited for, or was decided. */
type Wait =
  | 'BACK_OFF'
  | 'DRAINING'
  | 'GPU_FOREIGN_PROCESS'
  | 'INSTALLATION_DIFFERS'
  | 'NOT_REMEMBERED'
  | 'NO_GPU'
  | 'PM2_DEAF'
  | 'PM2_GONE'
  | 'PORT_OUT_OF_RANGE'
  | 'QUARANTINED'
  | 'ROLLED_BACK'
  | 'ROLLING'
  | 'UNKNOWN'
  | 'WAITING';
/** What a hold is called: the error that stands in the way, or one of these. */
export type HoldCode = ErrorCode | Wait;

/** "What is not done, and why": part of every plan and of status. */
export const Hold = z.object({
  /** What is held: "installation", "instance 0", "machine". An agent of another version may hold something else, and call it something else. */
  target: z.string() as unknown as z.ZodType<Target>,
  code: z.string() as unknown as z.ZodType<HoldCode>,
  reason: z.string(),
  help: z.string(),
  since: Time,
});
export type Hold = z.infer<typeof Hold>;
