/**
 * Flags of main.py differ by version and an unknown one ends ComfyUI with exit code 2 (reference comfyui.md section 1),
 * so only flags that the installed tree declares are ever used.
 */

/** Flags that every supported version has, down to 0.3.12. */
const COMMON_FLAGS = [
  '--listen',
  '--port',
  '--cpu',
  '--output-directory',
  '--input-directory',
  '--temp-directory',
  '--user-directory',
  '--extra-model-paths-config',
  '--disable-auto-launch',
] as const;

/** First version with the flag, where the declaration cannot be read. */
const SINCE: readonly (readonly [flag: string, version: string])[] = [
  ['--base-directory', '0.3.16'],
  ['--database-url', '0.3.43'],
];

/** Flags of a checkout: read from the text of comfy/cli_args.py, else by version. */
export function supportedFlags(cliArguments: string | null, version: string | null): string[] {
  const declared =
    cliArguments === null ? [] : [...cliArguments.matchAll(/add_argument\(\s*["'](--[a-z0-9-]+)["']/g)].map((match) => match[1] ?? '');
  if (declared.length > 0) return [...new Set(declared)].sort();
  const bySince = version === null ? [] : SINCE.filter(([, since]) => compareVersions(version, since) >= 0).map(([flag]) => flag);
  return [...COMMON_FLAGS, ...bySince].sort();
}

/** Negative, zero or positive, comparing dotted numbers; suffixes are ignored. */
export function compareVersions(a: string, b: string): number {
  const parse = (text: string) => text.split('.').map((part) => Number.parseInt(part, 10) || 0);
  const [left, right] = [parse(a), parse(b)];
  for (let i = 0; i < Math.max(left.length, right.length); i++) {
    const difference = (left[i] ?? 0) - (right[i] ?? 0);
    if (difference !== 0) return difference;
  }
  return 0;
}
