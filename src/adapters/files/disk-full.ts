import { statfsSync } from 'node:fs';
import { dirname } from 'node:path';
import { inodesText } from '../../domain/upkeep/upkeep.ts';

/** Why the kernel takes no more: a disk with room for bytes may have none for files. Asked at once: the answer changes by the second. */
export function fullReason(path: string): string {
  try {
    const { files: total, ffree: free } = statfsSync(path);
    return total > 0 && free === 0 ? `the disk takes no more files (${inodesText({ free, total })})` : 'the disk is full';
  } catch (error) {
    const parent = dirname(path);
    return parent === path || !['ENOENT', 'ENOTDIR'].includes((error as NodeJS.ErrnoException).code ?? '')
      ? 'the disk is full'
      : fullReason(parent);
  }
}
