import type { FaultKind } from '../faults/verdict.ts';

/** What is known of one end of an instance: what PM2 saw, what the kernel counted, what the process wrote last. */
export interface ExitEvidence {
  /** Epoch ms. */
  readonly at: number;
  readonly pid: number | null;
  /** Asked for by us: no fault. */
  readonly wanted: boolean;
  readonly cause: Extract<FaultKind, 'process-exit' | 'clean-exit' | 'out-of-memory-kill'>;
  /** As it is told everywhere: "exit code 1", "killed by the kernel's OOM killer: …". */
  readonly reason: string;
  /** What the kernel counted or logged about it. */
  readonly kernel: readonly string[];
  /** Its last words: at most 50 lines, of this incarnation only where its log tells them apart. */
  readonly lines: readonly string[];
}
