import { z } from 'zod';
import { Time } from '../observed.ts';

/** Every fault that the agent can name; docs/faults.md tells how each is seen and what is done about it. */
export const FaultKind = z.enum([
  'process-exit',
  'clean-exit',
  'out-of-memory-kill',
  'hang',
  'stopped-process',
  'busy-without-answer',
  'worker-dead',
  'job-without-progress',
  'websocket-gone',
  'port-taken',
  'crash-loop',
  'cuda-error',
  'cuda-unavailable',
  'job-out-of-memory',
  'wrong-card',
  'card-missing',
  'driver-gone',
  'xid',
  'ecc',
  'card-hot',
  'card-power',
  'card-memory-kept',
  'memory-growth',
  'disk-filling',
  'log-flood',
  'pm2-gone',
  'pm2-deaf',
  'leftover-process',
  'clock-jump',
]);
export type FaultKind = z.infer<typeof FaultKind>;

/** What is done about a fault that lasts. `restart-when-idle` lets running jobs end first. */
export const Remedy = z.enum(['none', 'free-memory', 'restart-when-idle', 'restart', 'quarantine']);
export type Remedy = z.infer<typeof Remedy>;

/**
 * One fault of one instance (or of its card, or of the machine) as it is judged now. Made anew from what was observed at each
 * look, never stored: it goes when its evidence goes.
 */
export const Verdict = z.object({
  fault: FaultKind,
  /** What is wrong and why, in words that need nothing else. */
  reason: z.string(),
  /** What was seen: log lines, counters, times, pids. Bounded: at most 50 lines. */
  evidence: z.array(z.string()),
  since: Time,
  /** Whether the instance may be given work meanwhile. */
  blocksReady: z.boolean(),
  remedy: Remedy,
  /** When the remedy is applied if the fault is still there; null: at once, or there is none. */
  dueAt: Time.nullable(),
  /** What happens next and what a person can do, in words. */
  next: z.string(),
});
export type Verdict = z.infer<typeof Verdict>;
