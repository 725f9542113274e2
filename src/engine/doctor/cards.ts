import { Roster, type RosterCard } from '../../domain/cards/roster.ts';
import { parseXid, XID_WORDS, type XidEvent } from '../../domain/cards/xid.ts';
import type { Layout } from '../../domain/configuration/config.ts';
import { gpuOfInstance } from '../../domain/identity.ts';
import type { InstanceCard } from '../../plan/doctor/facts.ts';
import type { Ports } from '../../ports.ts';
import { rosterFileOf } from '../state/files.ts';

/** What the doctor asks about cards beside their reading. */

/** Cards that an agent on this root gave a slot, as it left them; none when there was none. */
export async function cardsOfRosterFile(files: Ports['files'], layout: Layout): Promise<readonly RosterCard[]> {
  try {
    return Roster.parse(JSON.parse((await files.readText(rosterFileOf(layout))) ?? '{"schema":1,"cards":[]}')).cards;
  } catch {
    return [];
  }
}

export const xidsOfKernelLog = async (kernelLog: Ports['kernelLog']): Promise<readonly XidEvent[]> =>
  (await kernelLog.read(XID_WORDS)).flatMap(({ at, text }) => parseXid(text, at) ?? []);

export async function instanceCards({ processes, kernel }: Pick<Ports, 'processes' | 'kernel'>): Promise<readonly InstanceCard[]> {
  // Without PM2 there is none.
  const states = await processes.list().catch(() => []);
  const found = states.map(async ({ name, pid }): Promise<InstanceCard | null> => {
    const gpu = gpuOfInstance(name);
    const incarnation = pid === null || gpu === null ? null : await kernel.incarnation(pid);
    if (pid === null || gpu === null || incarnation === null) return null;
    const [pids, visibleDevices] = await Promise.all([kernel.tree(pid), kernel.environmentOf(pid, 'CUDA_VISIBLE_DEVICES')]);
    return { gpu, pid, startedAt: Date.parse(incarnation.startedAt), pids, visibleDevices };
  });
  return (await Promise.all(found)).filter((card) => card !== null);
}
