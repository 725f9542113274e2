import type { AgentError } from './errors.ts';

/** Of the kernel: full, over quota, read-only, broken. */
const CODES: ReadonlySet<unknown> = new Set(['ENOSPC', 'EDQUOT', 'EROFS', 'EIO']);

/** Whether something could not be written because of the disk itself: that may pass, and nobody's configuration is wrong. */
export const isOfTheDisk = ({ code, details }: Pick<AgentError, 'code' | 'details'>): boolean =>
  code === 'DISK_FULL' || CODES.has(details['code']);
