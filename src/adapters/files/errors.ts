import { AgentError } from '../../domain/errors/errors.ts';
import { fullReason } from './disk-full.ts';

const REASONS: Readonly<Record<string, string>> = {
  EACCES: 'permission denied',
  EPERM: 'permission denied',
  EROFS: 'the filesystem is read-only',
  ENOENT: 'it, or a directory on the way to it, does not exist',
  ENOTDIR: 'something on the way to it is not a directory',
  EISDIR: 'it is a directory',
  EEXIST: 'something else is in its place',
  ENOTEMPTY: 'a directory that is not empty is in its place',
  EXDEV: 'the two places are on different filesystems',
  ELOOP: 'its links go in a circle',
  ENAMETOOLONG: 'its name is too long',
  EIO: 'the disk reported an error',
  EMFILE: 'too many files are open',
  ENFILE: 'too many files are open on this machine',
};

export const errorCode = (error: unknown): string | undefined => (error as NodeJS.ErrnoException | undefined)?.code;

/** Nothing is there: an answer, not a fault. */
export const isAbsent = (error: unknown): boolean => errorCode(error) === 'ENOENT' || errorCode(error) === 'ENOTDIR';

const reason = (error: unknown): string =>
  REASONS[errorCode(error) ?? ''] ?? errorCode(error) ?? (error instanceof Error ? error.message : String(error));

/** A fault of writing in the user's words, with the path. */
export function writeFault(error: unknown, path: string): AgentError {
  if (error instanceof AgentError) return error;
  const code = errorCode(error);
  if (code === 'ENOSPC' || code === 'EDQUOT') {
    const why = code === 'EDQUOT' ? 'the quota is used up' : fullReason(path);
    return new AgentError('DISK_FULL', `${path} could not be written: ${why}`, { cause: error, details: { path } });
  }
  const isForbidden = code === 'EACCES' || code === 'EPERM' || code === 'EROFS';
  return new AgentError('ROOT_NOT_WRITABLE', `${path} could not be written: ${reason(error)}`, {
    cause: error,
    details: { path, code },
    ...(isForbidden ? {} : { help: 'look at what is at that path, and at the disk' }),
  });
}

/** A fault of reading in the user's words, with the path. */
export function readFault(error: unknown, path: string): AgentError {
  if (error instanceof AgentError) return error;
  if (error instanceof Error && error.name === 'AbortError')
    return new AgentError('INTERRUPTED', `reading ${path} was interrupted`, { cause: error });
  return new AgentError('FILE_UNREADABLE', `${path} could not be read: ${reason(error)}`, {
    cause: error,
    details: { path, code: errorCode(error) },
  });
}
