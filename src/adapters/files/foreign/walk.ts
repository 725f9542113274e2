import { constants, type Stats } from 'node:fs';
import { type FileHandle, open, readlink } from 'node:fs/promises';
import { posix } from 'node:path';
import type { PathFacts } from '../../../domain/files/foreign.ts';
import { errorCode } from '../errors.ts';
import { O_PATH } from './plain-file.ts';

/** As many as the kernel follows. */
const MAX_LINKS = 40;

const namesOf = (path: string): string[] => path.split('/').filter((name) => name !== '' && name !== '.');
export const isBelow = (path: string, top: string): boolean => path.startsWith(top === '/' ? '/' : `${top}/`);

const pathFacts = (path: string, facts: Stats): PathFacts => ({
  path,
  kind: facts.isDirectory() ? 'directory' : facts.isSymbolicLink() ? 'link' : facts.isFile() ? 'file' : 'other',
  uid: facts.uid,
  gid: facts.gid,
  mode: facts.mode & 0o7777,
});

/** A link that must not be followed. */
export class LeavesTheWay extends Error {}

/** What a path led to: a descriptor that opens nothing, and what was met on the way with the entry itself last. */
export interface Walk {
  readonly place: FileHandle;
  readonly way: readonly PathFacts[];
}

/**
 * Follows an absolute path one name after the other, each in the directory that is held open: whoever exchanges a directory
 * meanwhile leads nowhere else, and nothing outside is even looked for.
 * @param within a real path above `path`: on the way to it there is no link, and below it none that leads out; null: all are followed
 * @throws LeavesTheWay, and what the system says
 */
export async function walkTo(path: string, within: string | null): Promise<Walk> {
  let pending = namesOf(path);
  let links = 0;
  let at = '/';
  // Whether the walk has come into `within`, which it must not leave again.
  let isInside = at === within;
  let here = await open('/', O_PATH | constants.O_DIRECTORY);
  const way: PathFacts[] = [];
  try {
    way.push(pathFacts(at, await here.stat()));
    while (pending.length > 0) {
      const [name = '', ...rest] = pending;
      const place = posix.join(at, name);
      if (within !== null && isInside && place !== within && !isBelow(place, within)) throw new LeavesTheWay(place);
      const next = await open(`/proc/self/fd/${here.fd}/${name}`, O_PATH | constants.O_NOFOLLOW);
      const facts = await next.stat();
      way.push(pathFacts(place, facts));
      if (!facts.isSymbolicLink()) {
        await here.close();
        [here, at, pending] = [next, place, rest];
        isInside ||= at === within;
        continue;
      }
      await next.close();
      links += 1;
      if (links > MAX_LINKS || (within !== null && !isInside)) throw new LeavesTheWay(place);
      // By its name: what stands there by now is looked at in its turn.
      const target = await readlink(`/proc/self/fd/${here.fd}/${name}`).catch((error: unknown) => {
        if (errorCode(error) === 'EINVAL') return null;
        throw error;
      });
      if (target === null) continue;
      pending = [...namesOf(target), ...rest];
      if (!target.startsWith('/')) continue;
      if (within !== null && !isBelow(posix.normalize(target), within)) throw new LeavesTheWay(place);
      const top = await open('/', O_PATH | constants.O_DIRECTORY);
      await here.close();
      [here, at, isInside] = [top, '/', within === '/'];
    }
    return { place: here, way };
  } catch (error) {
    await here.close().catch(() => undefined);
    throw error;
  }
}
