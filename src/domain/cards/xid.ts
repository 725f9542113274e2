import { z } from 'zod';
import { normalPciBusId } from './gpu.ts';

/** One fault that the NVIDIA driver told the kernel log ("NVRM: Xid"). */
export const XidEvent = z.object({
  /** Epoch ms. */
  at: z.number(),
  pciBusId: z.string(),
  code: z.int(),
  /** The process whose work it was; null where the driver does not say. In a container it is the host's number. */
  pid: z.int().nullable(),
  /** The line from "NVRM" on, at most 300 characters. */
  text: z.string(),
});
export type XidEvent = z.infer<typeof XidEvent>;

/** What the kernel log is searched for. */
export const XID_WORDS = 'NVRM: Xid';

const TEXT_LIMIT = 300;

/**
 * A line of the kernel log, with or without its time before it. Elsewhere in a line the words are somebody's text:
 * `NVRM: Xid (PCI:0000:3b:00): 31, pid=4711, name=python3, Ch 00000008, …`; drivers before R525 leave out the name, old ones
 * `PCI:` too, MIG adds ` GPU-I:05` to the address, and an unknown process is `pid='<unknown>'`. null: another line.
 */
export function parseXid(line: string, at: number): XidEvent | null {
  const found = /^(?:\[[ \d.]+\] )?(?<line>NVRM: Xid \((?<address>[^\s)]+)[^)]*\): (?<code>\d{1,5})\b(?<rest>.*))/.exec(line);
  const pciBusId = normalPciBusId(found?.groups?.['address'] ?? '');
  if (found === null || pciBusId === null) return null;
  const pid = /\bpid='?(\d{1,10})\b/.exec(found.groups?.['rest'] ?? '')?.[1];
  return {
    at,
    pciBusId,
    code: Number(found.groups?.['code']),
    pid: pid === undefined || Number(pid) === 0 ? null : Number(pid),
    text: (found.groups?.['line'] ?? '').trimEnd().slice(0, TEXT_LIMIT),
  };
}
