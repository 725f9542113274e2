import { type FileHandle, realpath } from 'node:fs/promises';
import { join, relative, resolve } from 'node:path';
import { AgentError } from '../../../domain/errors/errors.ts';
import { allows, type Border, distrustOf, type ForeignUser, type Instruction, type PathFacts } from '../../../domain/files/foreign.ts';
import { isAbsent, readFault } from '../errors.ts';
import { digestBounded, NotPlain, openPlace, readBounded } from './plain-file.ts';
import { isBelow, LeavesTheWay, walkTo } from './walk.ts';

const refused = (path: string, why: string): AgentError =>
  new AgentError('INPUT_REFUSED', `${path} is not read: ${why}`, { details: { path, why } });
const leadsOut = (path: string, within: string): AgentError => refused(path, `it leads out of ${within}`);

/** What is made of a file that is open. @throws NotPlain when it is longer than the limit, in bytes */
type Take = (handle: FileHandle, maxBytes: number) => Promise<string>;
interface ForeignPlace {
  readonly within: string;
  readonly maxBytes: number;
}

/** See `Files.readForeign`. */
export const readForeign = (path: string, place: ForeignPlace, user: ForeignUser | null): Promise<string | null> =>
  takeForeign(path, place, user, readBounded);

/** See `Files.digestForeign`. */
export const digestForeign = (path: string, place: ForeignPlace, user: ForeignUser | null): Promise<string | null> =>
  takeForeign(path, place, user, digestBounded);

/**
 * What may be read is what `user` may read: where the agent has rights beyond that they do not count. null: nobody's rights
 * are looked at but the agent's own.
 */
async function takeForeign(path: string, { within, maxBytes }: ForeignPlace, user: ForeignUser | null, take: Take): Promise<string | null> {
  // By the names alone, so that nobody learns whether something is there.
  if (!isBelow(resolve(path), resolve(within))) throw leadsOut(path, within);
  try {
    const top = await realpath(within);
    const { place, way } = await walkTo(join(top, relative(within, path)), top);
    try {
      if (user !== null) requireReadable(path, way, user);
      return await contentOf(place, maxBytes, take);
    } finally {
      await place.close();
    }
  } catch (error) {
    if (isAbsent(error)) return null;
    if (error instanceof NotPlain) throw refused(path, error.message);
    if (error instanceof LeavesTheWay) throw leadsOut(path, within);
    throw readFault(error, path);
  }
}

async function contentOf(place: FileHandle, maxBytes: number, take: Take): Promise<string> {
  const handle = await openPlace(place);
  try {
    return await take(handle, maxBytes);
  } finally {
    await handle.close();
  }
}

/** @throws AgentError INPUT_REFUSED */
function requireReadable(path: string, way: readonly PathFacts[], user: ForeignUser): void {
  const closed = way.find((entry) => !allows(entry, user, entry.kind === 'directory' ? 1 : 4));
  if (closed !== undefined) throw refused(path, `the user ${user.name} may not read it`);
}

/**
 * See `Files.readInstruction`. Links are followed, each with the way to it, since who can change the way to a link can
 * change where it leads.
 */
export async function readInstruction(
  path: string,
  { maxBytes }: { readonly maxBytes: number },
  border: Border | null,
): Promise<Instruction | null> {
  try {
    const { place, way } = await walkTo(path, null);
    try {
      const uid = way.at(-1)?.uid ?? 0;
      const text = await contentOf(place, maxBytes, readBounded);
      return { text, owner: border?.names.get(uid) ?? `uid ${uid}`, distrust: border === null ? null : distrustOf(way, border) };
    } finally {
      await place.close();
    }
  } catch (error) {
    if (isAbsent(error)) return null;
    if (error instanceof NotPlain) throw refused(path, error.message);
    if (error instanceof LeavesTheWay) throw refused(path, 'its links go in a circle');
    throw readFault(error, path);
  }
}
