/** Reads git's progress from its standard error. */
import type { GitProgress } from '../../ports/git.ts';

const units: Readonly<Record<string, number>> = { bytes: 1, KiB: 1024, MiB: 1024 ** 2, GiB: 1024 ** 3 };

/** One line of `--progress` output: "Receiving objects:  45% (12/27), 1.20 MiB | 3.00 MiB/s". null when it is none. */
export function parseGitProgress(
  line: string,
): { readonly stage: string; readonly fraction: number | null; readonly bytes: number | null } | null {
  const match = /^(?:remote: )?([A-Z][A-Za-z ]+):\s+(?:(\d{1,3})% \(\d+\/\d+\)|\d+)(?:, ([\d.]+) (bytes|KiB|MiB|GiB))?/.exec(line.trim());
  if (match === null) return null;
  const [, stage = '', percent, amount, unit] = match;
  return {
    stage: stage.toLowerCase(),
    fraction: percent === undefined ? null : Math.min(Number(percent), 100) / 100,
    bytes: amount === undefined ? null : Math.round(Number(amount) * (units[unit ?? ''] ?? 1)),
  };
}

/** A sink for chunks of standard error that calls back on each change; bytes of several transfers add up. */
export function progressReader(onProgress: (progress: GitProgress) => void): (chunk: string) => void {
  let rest = '';
  let finished = 0;
  let current = 0;
  let last = '';
  return (chunk) => {
    const lines = (rest + chunk).split(/[\r\n]/);
    // A line that never ends is no progress.
    rest = (lines.pop() ?? '').slice(-1_000);
    for (const line of lines) {
      const progress = parseGitProgress(line);
      if (progress === null) continue;
      if (progress.bytes !== null) {
        if (progress.bytes < current) finished += current;
        current = progress.bytes;
      }
      const bytes = finished + current;
      const key = `${progress.stage} ${progress.fraction} ${bytes}`;
      if (key === last) continue;
      last = key;
      onProgress({ stage: progress.stage, fraction: progress.fraction, bytes });
    }
  };
}
