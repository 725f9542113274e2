/** Why no process of a machine can use its cards, in the words of CUDA and torch, and the command that mends it. */
interface CudaCause {
  readonly words: RegExp;
  readonly help: string;
}

const CAUSES: readonly CudaCause[] = [
  {
    words: /\b(?:error|CUDA error:?) 802\b|system not yet initialized/i,
    help: 'the fabric manager of NVSwitch machines does not run yet: `systemctl status nvidia-fabricmanager`, then `systemctl restart nvidia-fabricmanager`; its version must be that of the driver',
  },
  {
    words: /\berror 80[34]\b|system has unsupported display driver|driver\/library version mismatch/i,
    help: 'the libraries are of another driver than the one that the kernel runs: reboot; in a container also look for a compat libcuda on LD_LIBRARY_PATH',
  },
];

/** The line that names such a cause, and what to do about it; null: none does. */
export function cudaCause(words: string): { readonly line: string; readonly help: string } | null {
  const lines = words.split('\n');
  for (const { words: pattern, help } of CAUSES) {
    const line = lines.findLast((each) => pattern.test(each));
    if (line !== undefined) return { line: line.trim(), help };
  }
  return null;
}

/** What to do about it; null: the words name no such cause. */
export const cudaHelp = (words: string): string | null => cudaCause(words)?.help ?? null;
