/** Words of CUDA and torch about a machine on which no process can use a card, and the command that mends it. */
const CAUSES: readonly (readonly [words: RegExp, help: string])[] = [
  [
    /\b(?:error|CUDA error:?) 802\b|system not yet initialized/i,
    'the fabric manager of NVSwitch machines does not run yet: `systemctl status nvidia-fabricmanager`, then `systemctl restart nvidia-fabricmanager`; its version must be that of the driver',
  ],
  [
    /\berror 80[34]\b|system has unsupported display driver|driver\/library version mismatch/i,
    'the libraries are of another driver than the one that the kernel runs: reboot; in a container also look for a compat libcuda on LD_LIBRARY_PATH',
  ],
];

/** What to do about it; null: the words name no such cause. */
export const cudaHelp = (words: string): string | null => CAUSES.find(([pattern]) => pattern.test(words))?.[1] ?? null;
