import { AgentError, asAgentError } from '../../domain/errors/errors.ts';
import { inodesText } from '../../domain/upkeep/upkeep.ts';
import { type DiskNeed, mebibytes } from '../../plan/upkeep/disk.ts';
import type { Files } from '../../ports/files.ts';

const HELP = 'free space, move the root, lower releases.keep, or lower install.minFreeDiskMb';
const INODES_HELP = 'delete small files (`df -i` shows which disk; old releases and caches hold many), or move the root';

/**
 * Known before anything is begun. What the disk does not say is no reason to refuse.
 * @throws AgentError DISK_FULL when there are fewer bytes than needed, or no inode
 */
export async function requireRoom(files: Pick<Files, 'freeBytes' | 'inodes'>, root: string, need: DiskNeed): Promise<void> {
  const [free, inodes] = await Promise.all([files.freeBytes(root), files.inodes(root)]);
  if (inodes?.free === 0)
    throw new AgentError('DISK_FULL', `${root} has ${inodesText(inodes)}: no file can be made, whatever space there is`, {
      help: INODES_HELP,
    });
  if (free === null || free >= need.bytes) return;
  throw new AgentError('DISK_FULL', `${root} has ${mebibytes(free)} free; ${need.because}`, {
    help: HELP,
    details: { freeBytes: free, neededBytes: need.bytes },
  });
}

/** Programs say "no space left on device" of a disk without inodes too. */
export async function withInodes(files: Pick<Files, 'inodes'>, root: string, thrown: unknown): Promise<AgentError> {
  const error = asAgentError(thrown);
  if (error.code !== 'DISK_FULL') return error;
  const inodes = await files.inodes(root).catch(() => null);
  if (inodes === null || inodes.free > 0 || error.message.includes('inodes')) return error;
  const { message, details } = error;
  return new AgentError('DISK_FULL', `${message} (${inodesText(inodes)})`, { help: INODES_HELP, details, cause: thrown });
}
