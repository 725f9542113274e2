import { z } from 'zod';
import { Time } from './observed.ts';

/** The durable record for the operator: what was planned, done, failed and why. */
export const JournalEvent = z.object({
  id: z.int(),
  at: Time,
  /** Dotted: "instance.exit", "instance.ready", "action.start-instance", "install.step", "configuration.rejected", "hold.set". */
  type: z.string(),
  /** "instance 0", "installation", "machine", "agent". */
  target: z.string(),
  level: z.enum(['info', 'warn', 'error']),
  message: z.string(),
  data: z.record(z.string(), z.unknown()),
});
export type JournalEvent = z.infer<typeof JournalEvent>;

export type NewJournalEvent = Omit<JournalEvent, 'id' | 'at'>;

/** One line of a log, as `agent logs` and the API stream it. */
export const LogLine = z.object({ source: z.string(), line: z.string() });
export type LogLine = z.infer<typeof LogLine>;
