import { readdirSync } from 'node:fs';
import { INSTANCE_MARK, ROOT_MARK } from '../../domain/instances/ownership.ts';
import { createGuardedRead, type GuardedRead } from '../kernel/proc.ts';
import { isSame, type Member, readMember } from './tree.ts';

/** Variables of an entry by which its processes are known; null: it has none, and only its tree is. */
export interface EntryMark {
  readonly root: string;
  readonly instance: string;
}

/** Reads the mark from an entry as PM2 keeps it. */
export function markOf(environment: Readonly<Record<string, unknown>> | undefined): EntryMark | null {
  const root = environment?.[ROOT_MARK];
  const instance = environment?.[INSTANCE_MARK];
  return typeof root === 'string' && root !== '' && typeof instance === 'string' && instance !== '' ? { root, instance } : null;
}

const ENVIRONMENT_LIMIT = 1024 * 1024;
const PARALLEL_READS = 2;

/**
 * Processes with the mark of an entry wherever they are: one that made a session of its own, and whose parents are dead, is
 * in no tree. Read in the thread pool with a time limit, since the environment of a process that hangs in a driver can block.
 */
export function createMarkedSearch(read: GuardedRead = createGuardedRead()): (mark: EntryMark) => Promise<readonly Member[]> {
  return async (mark) => {
    const found: Member[] = [];
    const left = readdirSync('/proc').filter((name) => /^\d+$/.test(name) && Number(name) !== process.pid);
    const worker = async (): Promise<void> => {
      for (let name = left.pop(); name !== undefined; name = left.pop()) {
        const member = readMember(Number(name));
        const text = member === null ? null : await read(`/proc/${name}/environ`, ENVIRONMENT_LIMIT);
        if (member === null || text === null) continue;
        const environment = text.toString('utf8').split('\0');
        const isMarked = environment.includes(`${INSTANCE_MARK}=${mark.instance}`) && environment.includes(`${ROOT_MARK}=${mark.root}`);
        // What was read may be of another process by now.
        if (isMarked && isSame(member)) found.push(member);
      }
    };
    await Promise.all(Array.from({ length: PARALLEL_READS }, worker));
    return found;
  };
}
