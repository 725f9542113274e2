import { linesOf } from './nvidia-smi.ts';

/** What nvidia-smi says when it cannot answer, in the user's terms. Pure. */

/** nvidia-smi ends with 6 and these words when the driver runs and sees no card. */
export const saysNoDevices = (output: string): boolean => /No devices were found/.test(output);

/** Why nvidia-smi failed, and what to do. The words are those of nvidia-smi; exit codes differ between its versions. */
const faults: readonly { readonly pattern: RegExp; readonly reason: string; readonly help: string; readonly ofCard?: true }[] = [
  {
    pattern: /couldn't communicate with the NVIDIA driver/,
    reason: 'nvidia-smi cannot reach the NVIDIA driver',
    help: 'the kernel module is not loaded: `modprobe nvidia`, then `dmesg | grep -i nvrm`; after a kernel update rebuild it (`dkms autoinstall`) or reboot',
  },
  {
    pattern: /Driver\/library version mismatch/,
    reason: 'the NVIDIA driver was updated, and the kernel still runs the old one',
    help: 'reboot; or stop what uses the cards (`fuser -v /dev/nvidia*`), then `rmmod nvidia_uvm nvidia_drm nvidia_modeset nvidia && modprobe nvidia`; keep the driver from being updated by itself with `apt-mark hold`',
  },
  {
    pattern: /Failed to initialize NVML: (Unknown Error|Insufficient Permissions|No permission)/i,
    reason: 'the GPU devices may not be opened',
    help: 'in a container: start it with its GPU devices again (they are lost when the host reloads systemd); else check the rights of /dev/nvidia*',
  },
  {
    pattern: /GPU is lost|Unable to determine the device handle|fallen off the bus/i,
    ofCard: true,
    reason: 'a GPU does not answer any more',
    help: 'see `dmesg | grep -i xid`; the machine must be rebooted, or the card looked at',
  },
  {
    pattern: /NVML.{0,300}(not found|couldn't find)|libnvidia-ml/i,
    reason: 'the NVIDIA library (libnvidia-ml) was not found',
    help: 'install the driver libraries that belong to the running driver',
  },
];

/** The driver as a whole fails: no card would say anything else. */
export const isOfMachine = (output: string): boolean => faults.some(({ pattern, ofCard }) => ofCard !== true && pattern.test(output));

export interface Fault {
  readonly reason: string;
  readonly help: string | null;
}

/** In the user's terms, with nvidia-smi's own first line. */
export function explainFault(output: string, exitCode: number | null): Fault {
  const words = linesOf(output)[0]?.trim().slice(0, 300) ?? 'it said nothing';
  const known = faults.find((fault) => fault.pattern.test(output));
  if (known === undefined) return { reason: `nvidia-smi failed with exit code ${exitCode ?? 'unknown'}: ${words}`, help: null };
  return { reason: `${known.reason}: ${words}`, help: known.help };
}
