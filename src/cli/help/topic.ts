import type { Layout } from '../../domain/configuration/config.ts';
import { wrap } from '../render/text.ts';

/** What topics tell of this machine; for the manual page, of the defaults. */
export interface TopicFacts {
  readonly layout: Layout;
  /** The configuration file in use; null: none. */
  readonly file: string | null;
  /** Where a configuration file is looked for, in order. */
  readonly candidates: readonly string[];
  /** Width to wrap at. */
  readonly columns: number;
}

/** Background for somebody at a terminal, one screen at most. */
export interface Topic {
  readonly name: string;
  readonly about: string;
  /** Neighbouring lines are one paragraph; what is indented, or has columns two spaces apart, stays a line of its own. */
  readonly lines: (facts: TopicFacts) => readonly string[];
}

const COLUMNS = /^ | {2,}/;

/** The lines of a topic, filled and broken at `columns`; in a table what follows stays in its column. */
export function flow(lines: readonly string[], columns: number): string[] {
  const joined: string[] = [];
  for (const line of lines) {
    const last = joined.at(-1);
    const isProse = (text: string | undefined): text is string => text !== undefined && text !== '' && !COLUMNS.test(text);
    if (isProse(last) && isProse(line)) joined[joined.length - 1] = `${last} ${line}`;
    else joined.push(line);
  }
  return joined.flatMap((line) => {
    const indent = /^( *\S.*? {2,}| *)(?=\S)/.exec(line)?.[0].length ?? 0;
    const isTooNarrow = columns < indent + 20;
    return wrap(line.slice(indent), isTooNarrow ? 0 : columns - indent).map(
      (part, index) => `${index === 0 ? line.slice(0, indent) : ' '.repeat(indent)}${part}`,
    );
  });
}
