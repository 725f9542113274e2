import type { FoundFile } from '../../domain/upkeep/upkeep.ts';
import { matchesGlob } from '../text/glob.ts';

export interface CleanupPolicy {
  /** null: age is no reason. */
  readonly maxAgeMs: number | null;
  /** null: size is no reason. */
  readonly maxBytes: number | null;
  readonly keep: readonly string[];
  /** What was changed more recently may still be written. */
  readonly minAgeMs: number;
  /** Bytes to free beyond the limits, because the disk is low; 0: it is not. */
  readonly needBytes: number;
}

export interface Selection {
  readonly files: readonly FoundFile[];
  readonly bytes: number;
  readonly reasons: readonly string[];
}

/** What goes: first by age, then the oldest beyond the size, then the oldest until the need is met. Never what is kept or young. */
export function selectForRemoval(found: readonly FoundFile[], policy: CleanupPolicy, now: number): Selection {
  const oldest = found
    .filter((file) => now - file.changedAt >= policy.minAgeMs && !policy.keep.some((glob) => matchesGlob(glob, file.path)))
    .toSorted((a, b) => a.changedAt - b.changedAt || (a.path < b.path ? -1 : 1));
  const { maxAgeMs, maxBytes, needBytes } = policy;
  let total = found.reduce((sum, file) => sum + file.bytes, 0);
  let freed = 0;
  const counts = { 'by age': 0, 'beyond the size': 0, 'because the disk is low': 0 };
  const files: FoundFile[] = [];
  for (const file of oldest) {
    const reason: keyof typeof counts | null =
      maxAgeMs !== null && now - file.changedAt > maxAgeMs
        ? 'by age'
        : maxBytes !== null && total > maxBytes
          ? 'beyond the size'
          : freed < needBytes
            ? 'because the disk is low'
            : null;
    if (reason === null) break;
    files.push(file);
    counts[reason] += 1;
    total -= file.bytes;
    freed += file.bytes;
  }
  return {
    files,
    bytes: freed,
    reasons: Object.entries(counts).flatMap(([reason, count]) => (count === 0 ? [] : [`${count} ${reason}`])),
  };
}
