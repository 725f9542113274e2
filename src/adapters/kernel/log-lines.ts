import type { KernelMessage } from '../../domain/cards/kernel-message.ts';

/** Records of the kernel log as its two readers give them. Pure. */

/**
 * A record of /dev/kmsg (Documentation/ABI/testing/dev-kmsg): `priority,sequence,microseconds,flags;text`, then lines of
 * keys, each after a space. Bytes that cannot be printed are written as \xNN.
 * @param bootedAt epoch ms
 */
export function parseKmsgRecord(record: string, bootedAt: number): KernelMessage | null {
  const [, microseconds, text] = /^\d+,\d+,(\d+),[^;]*;([^\n]*)/.exec(record) ?? [];
  if (microseconds === undefined || text === undefined) return null;
  return { at: Math.round(bootedAt + Number(microseconds) / 1_000), text };
}

/** A line of `journalctl -o json`. A message that is no UTF-8 is an array of bytes there. */
export function parseJournalLine(line: string): KernelMessage | null {
  try {
    const entry: unknown = JSON.parse(line);
    if (typeof entry !== 'object' || entry === null) return null;
    const { MESSAGE: message, __REALTIME_TIMESTAMP: microseconds } = entry as Record<string, unknown>;
    const at = Math.round(Number(microseconds) / 1_000);
    if (!Number.isFinite(at)) return null;
    if (typeof message === 'string') return { at, text: message };
    return Array.isArray(message) ? { at, text: Buffer.from(message as number[]).toString('utf8') } : null;
  } catch {
    return null;
  }
}
