import type { Command } from '../context.ts';

/** What people type: a verb with its arguments and options. The code behind it is loaded when it is used. */

export type OptionKind = 'duration' | 'count' | 'port' | 'text' | 'texts';

/** What a shell can offer where a value is typed. */
export type Completes = 'file' | 'directory' | 'gpu' | 'release' | 'topic' | 'host';

interface Offered {
  /** The only values there are. */
  readonly choices?: readonly string[];
  /** Values that are possible beside others. */
  readonly words?: readonly string[];
  readonly completes?: Completes;
}

export interface VerbOption extends Offered {
  /** As commander writes them: `--timeout <duration>`. */
  readonly flags: string;
  readonly about: string;
  /** How the value is read; absent: a switch. */
  readonly kind?: OptionKind;
}

export interface VerbArgument extends Offered {
  /** `<gpu>`, `[gpu...]`. */
  readonly name: string;
  readonly about: string;
}

export interface Verb {
  readonly name: string;
  readonly group: string;
  readonly about: string;
  readonly arguments?: readonly VerbArgument[];
  readonly options?: readonly VerbOption[];
  readonly examples?: readonly string[];
  /** For programs only: in no help, no manual and no completion. */
  readonly hidden?: true;
  /** @param verbs all there are: some verbs tell of the others */
  readonly load: (verbs: readonly Verb[]) => Promise<Command>;
}
