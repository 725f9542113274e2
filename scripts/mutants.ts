/** One small change of a source file. */
export interface Mutant {
  readonly file: string;
  /** From 1. */
  readonly line: number;
  /** The line as it is. */
  readonly text: string;
  readonly before: string;
  readonly after: string;
  /** The whole file with the change. */
  readonly source: string;
}

/** With spaces around, so that no type argument and no arrow is one. */
const SWAPS: readonly (readonly [before: string, after: string])[] = [
  [' && ', ' || '],
  [' || ', ' && '],
  [' === ', ' !== '],
  [' !== ', ' === '],
  [' < ', ' <= '],
  [' <= ', ' < '],
  [' > ', ' >= '],
  [' >= ', ' > '],
  [' + ', ' - '],
  [' - ', ' + '],
  [': true', ': false'],
  [': false', ': true'],
  ['return true', 'return false'],
  ['return false', 'return true'],
  ['=> true', '=> false'],
  ['=> false', '=> true'],
];

/**
 * All changes that are tried of a file: an operator is another one, a condition never holds, a literal is the other one. Comments,
 * imports, types and strings stay as they are.
 */
export function mutantsOf(file: string, source: string): readonly Mutant[] {
  const lines = source.split('\n');
  const change = (index: number, column: number, before: string, after: string): Mutant => {
    const text = lines[index] ?? '';
    const changed = text.slice(0, column) + after + text.slice(column + before.length);
    return {
      file,
      line: index + 1,
      text: text.trim(),
      before: before.trim(),
      after: after.trim(),
      source: lines.with(index, changed).join('\n'),
    };
  };
  return lines.flatMap((text, index) => {
    const code = withoutStrings(text);
    if (/^\s*(?:\/?\*|\/\/|import\b|export (?:type|interface)\b|readonly\b|interface\b|type\b)/.test(code)) return [];
    // Text that is put together is no arithmetic.
    const isText = /['"`]/.test(text);
    const swaps = SWAPS.filter(([before]) => !isText || !/^ [+-] $/.test(before)).flatMap(([before, after]) =>
      [...places(code, before)].map((column) => change(index, column, before, after)),
    );
    return [
      ...swaps,
      ...neverHolds(code).map((condition) => change(index, condition.column, text.slice(condition.column, condition.end), 'false')),
    ];
  });
}

function* places(code: string, wanted: string): Generator<number> {
  for (let at = code.indexOf(wanted); at !== -1; at = code.indexOf(wanted, at + 1)) yield at;
}

/** What stands in the brackets of an `if` that closes on its own line. */
function neverHolds(code: string): readonly { readonly column: number; readonly end: number }[] {
  const start = /^\s*(?:\} else )?if \(/.exec(code)?.[0].length;
  if (start === undefined) return [];
  let depth = 1;
  for (let end = start; end < code.length; end++) {
    if (code[end] === '(') depth++;
    if (code[end] === ')') depth--;
    if (depth === 0) return [{ column: start, end }];
  }
  return [];
}

/** The same columns, with what stands in quotes, in templates and behind `//` blanked. */
const withoutStrings = (text: string): string =>
  text
    .replaceAll(/'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*"|`(?:[^`\\]|\\.)*`/g, (quoted) => quoted[0] + ' '.repeat(quoted.length - 2) + quoted[0])
    .replace(/\/\/.*$/, (comment) => ' '.repeat(comment.length));
