import { type Incarnation, incarnationKey, type ProcessState } from '../../domain/instances/instance.ts';
import type { Leftover } from '../../domain/instances/ownership.ts';
import { known, type Observed } from '../../domain/observed.ts';
import type { Ports } from '../../ports.ts';
import { ask } from '../ask.ts';

type Incarnations = ReadonlyMap<string, Observed<Incarnation | null>>;

/**
 * The process of each instance, by name, as PM2 names it. While PM2 cannot be asked, what was seen before is looked at again:
 * the same process, or none.
 */
export async function hostedIncarnations(
  ports: Pick<Ports, 'kernel'>,
  processes: Observed<readonly ProcessState[]>,
  before: Incarnations,
): Promise<Incarnations> {
  const look = (pid: number) => ask(() => ports.kernel.incarnation(pid));
  if (processes.known) {
    const pairs = processes.value.map(async ({ name, pid }) => [name, pid === null ? known(null) : await look(pid)] as const);
    return new Map(await Promise.all(pairs));
  }
  const pairs = [...before].map(async ([name, seen]) => {
    if (!seen.known || seen.value === null) return [name, seen] as const;
    const now = await look(seen.value.pid);
    const isGone = now.known && (now.value === null || incarnationKey(now.value) !== incarnationKey(seen.value));
    return [name, isGone ? known(null) : now] as const;
  });
  return new Map(await Promise.all(pairs));
}

/** The same, and what serves though PM2 does not host it: health tells of the process that is there. */
export function unhostedIncarnations(hosted: Incarnations, leftovers: ReadonlyMap<number, Leftover>): Incarnations {
  const serving = [...leftovers.values()].flatMap(({ name, serving: process }): [string, Observed<Incarnation | null>][] => {
    const seen = hosted.get(name);
    return process === null || (seen !== undefined && (!seen.known || seen.value !== null)) ? [] : [[name, known(process)]];
  });
  return new Map([...hosted, ...serving]);
}
