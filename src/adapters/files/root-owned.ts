import type { Stats } from 'node:fs';
import { type FileHandle, lstat, realpath } from 'node:fs/promises';
import { dirname, resolve } from 'node:path';
import { AgentError } from '../../domain/errors/errors.ts';
import { isAbsent } from './errors.ts';
import { NotPlain, openPlain } from './foreign/plain-file.ts';

/** Of whom root may believe what it reads: itself. In tests without root rights: whoever runs them. */
export interface Trust {
  readonly uid: number;
}

const STICKY = 0o1000;
const FOR_OTHERS = 0o022;

const refused = (path: string, why: string): AgentError => new AgentError('UPGRADE_REFUSED', `${path} ${why}`, { details: { path } });

function requireOwner(path: string, facts: Stats, trust: Trust): void {
  const { uid, mode } = facts;
  if (uid !== 0 && uid !== trust.uid) throw refused(path, `belongs to user ${uid}, and not to root`);
  // A directory that others may write to is fine where only owners may move what is there, as in /tmp.
  const isShared = facts.isDirectory() && (mode & STICKY) !== 0;
  if ((mode & FOR_OTHERS) !== 0 && !isShared)
    throw refused(path, `may be written by others than root (mode ${(mode & 0o7777).toString(8)})`);
}

/**
 * Every directory on the way, links included, is of root, and nobody else can put something in its place. Once that is so it stays
 * so, whatever others do: names below may be used as they are.
 * @returns the directory without links; null when there is none
 * @throws AgentError UPGRADE_REFUSED
 */
export async function requireRootOwned(directory: string, trust: Trust): Promise<string | null> {
  const parts = resolve(directory).split('/').filter(Boolean);
  for (let depth = 0; depth <= parts.length; depth++) {
    const path = `/${parts.slice(0, depth).join('/')}`;
    const facts = await lstat(path).catch((error: unknown) => {
      if (isAbsent(error)) return null;
      throw error;
    });
    if (facts === null) return null;
    if (facts.isSymbolicLink()) {
      if (facts.uid !== 0 && facts.uid !== trust.uid) throw refused(path, `is a link of user ${facts.uid}`);
      const target = await requireRootOwned(await realpath(path), trust);
      return target === null ? null : requireRootOwned([target, ...parts.slice(depth)].join('/'), trust);
    }
    if (!facts.isDirectory()) throw refused(path, 'is no directory');
    requireOwner(path, facts, trust);
  }
  return `/${parts.join('/')}`;
}

/**
 * A plain file of root, in a place of root, opened without following a link.
 * @returns null when there is none
 * @throws AgentError UPGRADE_REFUSED
 */
export async function openRootOwned(path: string, trust: Trust): Promise<FileHandle | null> {
  if ((await requireRootOwned(dirname(path), trust)) === null) return null;
  const file = await openPlain(path, false).catch((error: unknown) => {
    if (isAbsent(error)) return null;
    throw error instanceof NotPlain ? refused(path, 'is no plain file') : error;
  });
  if (file === null) return null;
  try {
    requireOwner(path, await file.stat(), trust);
    return file;
  } catch (error) {
    await file.close();
    throw error;
  }
}
