import type { ExitCode } from '../domain/errors/registry.ts';
import type { CliHost, Selection } from './host.ts';
import type { Style } from './style.ts';

/** Values of a verb's own options, as commander gives them. */
export type Options = Readonly<Record<string, unknown>>;

/** Everything a verb is given. */
export interface Context {
  readonly host: CliHost;
  readonly selection: Selection;
  readonly json: boolean;
  readonly quiet: boolean;
  readonly verbose: boolean;
  /** For results on stdout. */
  readonly style: Style;
  /** For progress and errors on stderr. */
  readonly errorStyle: Style;
  /** As typed, for "run … again": `agent install --root /data`. */
  commandLine(verb: string): string;
  /** Lines for people on stdout. */
  print(lines: string | readonly string[]): void;
  /** A document for programs on stdout: `--json`. */
  printJson(document: unknown): void;
  /** What a person may want to know beside the result, on stderr; silent with -q. */
  note(line: string): void;
  /** What a person must know, on stderr. */
  warn(line: string): void;
}

export type Command = (context: Context, args: readonly string[], options: Options) => Promise<ExitCode>;

export const isSet = (options: Options, name: string): boolean => options[name] === true;

export const textOf = (options: Options, name: string): string | null => {
  const value = options[name];
  return typeof value === 'string' ? value : null;
};

export const numberOf = (options: Options, name: string): number | null => {
  const value = options[name];
  return typeof value === 'number' ? value : null;
};
