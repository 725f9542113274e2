import type { Command } from '../context.ts';

/** What people type: a verb with its arguments and options. The code behind it is loaded when it is used. */

export type OptionKind = 'duration' | 'count' | 'port' | 'text' | 'texts';

export interface VerbOption {
  /** As commander writes them: `--timeout <duration>`. */
  readonly flags: string;
  readonly about: string;
  /** How the value is read; absent: a switch. */
  readonly kind?: OptionKind;
}

export interface VerbArgument {
  /** `<gpu>`, `[gpu...]`. */
  readonly name: string;
  readonly about: string;
  readonly choices?: readonly string[];
}

export interface Verb {
  readonly name: string;
  readonly group: string;
  readonly about: string;
  readonly arguments?: readonly VerbArgument[];
  readonly options?: readonly VerbOption[];
  readonly examples?: readonly string[];
  readonly load: () => Promise<Command>;
}
