import { randomBytes } from 'node:crypto';
import { closeSync, constants, openSync, writeFileSync } from 'node:fs';

export const KMSG = '/dev/kmsg';

/** Whether this process may write into the kernel log of this machine and read it: root outside a container. */
export function mayUseKmsg(): boolean {
  try {
    closeSync(openSync(KMSG, constants.O_RDWR | constants.O_NONBLOCK));
    return true;
  } catch {
    return false;
  }
}

/** The line really is in the kernel log then, for as long as its ring holds it. */
export const sayToKernel = (text: string): void => writeFileSync(KMSG, `<3>${text}\n`);

/** An address that no card of this machine has, nor another test: old lines stay in the log. As nvidia-smi writes it, and as the log does. */
export function inventedPciBusId(): { readonly smi: string; readonly log: string } {
  const domain = `f${randomBytes(2).toString('hex').slice(0, 3)}`;
  return { smi: `0000${domain.toUpperCase()}:3B:00.0`, log: `PCI:${domain}:3b:00` };
}
