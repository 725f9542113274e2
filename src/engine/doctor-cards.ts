import { z } from 'zod';
import type { Layout } from '../domain/config.ts';
import { Gpu } from '../domain/gpu.ts';
import { parseXid, XID_WORDS, type XidEvent } from '../domain/xid.ts';
import type { InstanceCard } from '../plan/doctor.ts';
import type { Ports } from '../ports.ts';
import { lastStatusFile } from './last-status.ts';

/** What the doctor asks about cards beside their reading. */

const LastCards = z.object({ gpus: z.array(Gpu).nullable() });

/** Cards that the last agent on this root saw; none when there was none, or when it was of another version. */
export async function cardsOfLastStatus(files: Ports['files'], layout: Layout): Promise<readonly Gpu[]> {
  try {
    const text = await files.readText(lastStatusFile(layout));
    return text === null ? [] : (LastCards.parse(JSON.parse(text)).gpus ?? []);
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
    const gpu = Number(/^comfyui-gpu(\d+)$/.exec(name)?.[1] ?? Number.NaN);
    const incarnation = pid === null || Number.isNaN(gpu) ? null : await kernel.incarnation(pid);
    if (pid === null || incarnation === null) return null;
    const [pids, visibleDevices] = await Promise.all([kernel.tree(pid), kernel.environmentOf(pid, 'CUDA_VISIBLE_DEVICES')]);
    return { gpu, pid, startedAt: Date.parse(incarnation.startedAt), pids, visibleDevices };
  });
  return (await Promise.all(found)).filter((card) => card !== null);
}
