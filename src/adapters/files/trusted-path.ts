import { constants } from 'node:fs';
import { type FileHandle, lstat, mkdir, open, readdir, readlink, rm, rmdir, unlink } from 'node:fs/promises';
import { basename, dirname, join, resolve } from 'node:path';
import { AgentError } from '../../domain/errors/errors.ts';
import { errorCode, isAbsent } from './errors.ts';
import { O_PATH } from './foreign/plain-file.ts';

/**
 * Ways to a file that nobody else can bend. Where another user may write, a name can become a link between a look and its use; so
 * each directory on the way is opened from the one before, and what is done is done below the last one. A link is followed when a
 * trusted user made it; this program's own user is none, since the links in packs are its.
 */

/** Opened to be gone through, which needs no right to list it. */
const DIRECTORY = O_PATH | constants.O_DIRECTORY | constants.O_NOFOLLOW;
const MAX_LINKS = 16;

/** Of whom links are followed; null: of everybody. */
export type LinkTrust = ReadonlySet<number> | null;

/** Does something to a path, by a name for it that leads there whatever others do meanwhile. */
type At = <T>(path: string, work: (place: string) => Promise<T>) => Promise<T>;

const inside = (directory: FileHandle, name: string): string => `/proc/self/fd/${directory.fd}/${name}`;

/**
 * Where a trusted link leads.
 * @param link its place
 * @throws AgentError FOREIGN_LINK
 */
async function targetOf(link: string, shown: string, trust: ReadonlySet<number>): Promise<string> {
  const before = await lstat(link, { bigint: true });
  const target = await readlink(link);
  const after = await lstat(link, { bigint: true });
  // It was there all the time: moving one away and back changes its inode.
  const isSame = before.ino === after.ino && before.dev === after.dev && before.ctimeNs === after.ctimeNs;
  if (isSame && trust.has(Number(after.uid))) return target;
  throw new AgentError('FOREIGN_LINK', `${shown} is a link of user ${after.uid}`, { details: { path: shown } });
}

const isLinkFault = (error: unknown): boolean => errorCode(error) === 'ENOTDIR' || errorCode(error) === 'ELOOP';

/**
 * @param makes directories that are not there are made
 * @throws AgentError FOREIGN_LINK; else as the file system does
 */
async function openDirectory(path: string, trust: ReadonlySet<number>, makes: boolean, links = 0): Promise<FileHandle> {
  const parts = resolve(path).split('/').filter(Boolean);
  let at = await open('/', DIRECTORY);
  try {
    for (const [index, name] of parts.entries()) {
      const place = inside(at, name);
      const next = await open(place, DIRECTORY).catch(async (error: unknown) => {
        if (errorCode(error) === 'ENOENT' && makes) {
          await mkdir(place).catch((failure: unknown) => (errorCode(failure) === 'EEXIST' ? undefined : Promise.reject(failure)));
          return open(place, DIRECTORY);
        }
        if (!isLinkFault(error) || !(await lstat(place)).isSymbolicLink()) throw error;
        const above = `/${parts.slice(0, index).join('/')}`;
        const target = await targetOf(place, join(above, name), trust);
        if (links >= MAX_LINKS) throw Object.assign(new Error('too many links'), { code: 'ELOOP' });
        return openDirectory(resolve(above, target), trust, makes, links + 1);
      });
      await at.close();
      at = next;
    }
    return at;
  } catch (error) {
    await at.close();
    throw error;
  }
}

/** @param makes the directories on the way are made */
export function wayTo(trust: LinkTrust, makes = false): At {
  if (trust === null) return (path, work) => work(path);
  return async (path, work) => {
    const parent = await openDirectory(dirname(resolve(path)), trust, makes);
    try {
      return await work(inside(parent, basename(resolve(path))));
    } finally {
      await parent.close();
    }
  };
}

/** Works below a directory, which is opened: a link in its place is followed only when it is trusted. */
export async function within<T>(trust: LinkTrust, directory: string, work: (place: string) => Promise<T>): Promise<T> {
  if (trust === null) return work(directory);
  const handle = await open(directory, DIRECTORY).catch(async (error: unknown) => {
    if (!isLinkFault(error) || !(await lstat(directory)).isSymbolicLink()) throw error;
    // What is named by a descriptor has a name for people too.
    const above = await readlink(dirname(directory)).catch(() => dirname(directory));
    const target = await targetOf(directory, join(above, basename(directory)), trust);
    return openDirectory(resolve(above, target), trust, false);
  });
  try {
    return await work(`/proc/self/fd/${handle.fd}`);
  } finally {
    await handle.close();
  }
}

const TRIES = 3;

/** Removes whatever is there, links as links, and never goes through one. */
export async function removeTree(place: string, trust: LinkTrust): Promise<void> {
  if (trust === null) return rm(place, { recursive: true, force: true, maxRetries: 3 });
  const facts = await orNothing(lstat(place));
  if (facts === undefined) return;
  if (!facts.isDirectory()) return void (await orNothing(unlink(place)));
  for (let attempt = 1; ; attempt++) {
    await empty(place, trust);
    try {
      return await rmdir(place);
    } catch (error) {
      if (isAbsent(error)) return;
      // Somebody puts something in while it is taken out.
      if (errorCode(error) !== 'ENOTEMPTY' || attempt === TRIES) throw error;
    }
  }
}

async function empty(place: string, trust: LinkTrust): Promise<void> {
  const directory = await open(place, DIRECTORY);
  try {
    const entries = await readdir(`/proc/self/fd/${directory.fd}`, { withFileTypes: true });
    const files = entries.filter((entry) => !entry.isDirectory());
    await Promise.all(files.map(({ name }) => orNothing(unlink(inside(directory, name)))));
    // One directory after the other: each takes a handle, and so do those above it.
    for (const entry of entries) if (entry.isDirectory()) await removeTree(inside(directory, entry.name), trust);
  } finally {
    await directory.close();
  }
}

const orNothing = <T>(work: Promise<T>): Promise<T | undefined> =>
  work.catch((error: unknown) => (isAbsent(error) ? undefined : Promise.reject(error)));
