import { z } from 'zod';
import { Time } from '../observed.ts';

/** One thing that was looked at before or while the agent runs. `unknown` is what could not be looked at, never a failure. */
export const Finding = z.object({
  /** Short name: "root", "python", "gpu", "ports". */
  check: z.string(),
  status: z.enum(['ok', 'warn', 'fail', 'unknown']),
  /** What was found, in one line. */
  message: z.string(),
  /** What to do; null when there is nothing to do. */
  help: z.string().nullable(),
  /** The package of Debian and Ubuntu that mends it; absent where none does. */
  debianPackage: z.string().optional(),
});
export type Finding = z.infer<typeof Finding>;

/** GET /v1/doctor and `agent doctor`. */
export const DoctorDocument = z.object({
  /** False when a finding fails: an installation or a start would not work. */
  ok: z.boolean(),
  root: z.string(),
  findings: z.array(Finding),
  checkedAt: Time,
});
export type DoctorDocument = z.infer<typeof DoctorDocument>;
