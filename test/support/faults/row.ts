import type { Scene, Snapshot } from './scene.ts';
import type { StageName } from './stages.ts';

/** Asserted limits are so many times the figure: a loaded machine must not fail a test, and the exact times are in the table. */
export const LIMIT_FACTOR = 5;

/** What must come to be seen, and the figure for it. */
export interface Seen {
  readonly kind: 'seen';
  /** In words, for the table. */
  readonly says: string;
  /** Time from the fault (or from its end, for what comes after `heal`) within which it is meant to be so. */
  readonly figureMs: number;
  /** null: it is so. Else what is instead, in words. */
  readonly look: (scene: Scene) => Promise<string | null>;
}

/** What must be so now and stay so for a while. */
export interface Stays {
  readonly kind: 'stays';
  readonly says: string;
  readonly forMs: number;
  readonly look: (scene: Scene) => Promise<string | null>;
}

export type Expectation = Seen | Stays;

/** An entry of the journal that must follow the one before it. */
export interface JournalPattern {
  readonly type: string;
  readonly target?: string;
  readonly message?: RegExp;
}

/** What the agent did, as its journal tells it. */
export interface Done {
  readonly words: string;
  /** In this order, others may lie between. */
  readonly events: readonly JournalPattern[];
  /** None of these after the fault. */
  readonly never?: readonly JournalPattern[];
}

/** What must be as it was. `check` answers null, or what was done to it. */
export interface Untouched {
  readonly what: string;
  readonly check: (scene: Scene, before: Snapshot) => Promise<string | null>;
  /** Instances that must be ready at every look from the fault to the end. */
  readonly alwaysReady?: readonly number[];
}

/** One fault: how it is made, and all that must be true of what follows. */
export interface FaultRow {
  /** Unique, kebab-case. */
  readonly id: string;
  /** Where it is known from, such as "peers-serving F3". */
  readonly source: string;
  readonly fault: string;
  readonly stage: StageName;
  /** Makes the fault; calls `scene.strike()` at its moment. Resolves when it is made. */
  readonly inject: (scene: Scene) => Promise<void>;
  /** What health says, in this order. */
  readonly health: readonly Expectation[];
  /** Takes the cause away, where it does not go by itself. */
  readonly heal?: { readonly words: string; readonly how: (scene: Scene) => Promise<void> };
  readonly done: Done;
  readonly untouched: readonly Untouched[];
  /** Instances of which a real job must then run, and the figure for being ready again after the fault, or after `heal`. */
  readonly back: { readonly gpus: readonly number[]; readonly figureMs: number };
}

/** Measured times of one row, in ms. */
export interface RowReport {
  readonly id: string;
  readonly ok: boolean;
  readonly seenMs: readonly (number | null)[];
  readonly backMs: number | null;
  readonly tookMs: number;
  readonly error: string | null;
}
