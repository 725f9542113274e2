import type { ConfigSource } from '../../domain/configuration/config.ts';

/** One value that somebody set for one key of the configuration. */
export interface Setting {
  /** `gpu.mode`. */
  readonly key: string;
  readonly value: unknown;
  /** As it was written, before `${VAR}` was expanded; what messages show. */
  readonly written: unknown;
  readonly source: Exclude<ConfigSource, 'default'>;
  /** The file's path, the variable's name or the flag. */
  readonly origin: string;
  readonly line: number | null;
}

/** One thing wrong with the configuration. */
export interface ConfigProblem {
  /** `gpu.mode`; empty when it concerns a whole file. */
  readonly key: string;
  readonly source: ConfigSource;
  readonly origin: string | null;
  readonly line: number | null;
  readonly code: 'CONFIG_INVALID' | 'SSH_KEY_INVALID';
  /** What was found and what is allowed, on one line, secrets masked. */
  readonly message: string;
}

/** `agent.yaml:3: gpu.mode: found "x"; allowed: actual, mock, cpu`, or with the variable or flag instead of the file. */
export function describeConfigProblem({ key, origin, line, message }: ConfigProblem): string {
  const place = origin === null ? null : line === null ? origin : `${origin}:${line}`;
  return [place, key === '' ? null : key, message].filter((part) => part !== null).join(': ');
}
