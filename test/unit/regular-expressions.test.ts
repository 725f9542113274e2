import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, it } from 'vitest';

/**
 * Logs, packages, repositories, drivers and clients choose what the expressions of this program are run on. Each of them is run
 * on long hostile text here: four times the text may take about four times as long. One that takes sixteen times is quadratic,
 * and a line of some megabytes would stop the agent for minutes.
 */

const SOURCE = join(import.meta.dirname, '../../src');
const LENGTH = 3_000;
/** Below this nothing is said: the clock and the collector are coarser than a difference. */
const LEAST_MS = 15;
/** Linear is 4, quadratic 16. */
const TOO_MUCH = 9;
const CHARACTERS = [
  'a',
  'A',
  '0',
  ' ',
  '.',
  '-',
  '_',
  '/',
  ':',
  '=',
  ',',
  '"',
  "'",
  '\n',
  '\\',
  '*',
  '<',
  '(',
  '[',
  'a.',
  'a-',
  'a=',
  'a ',
  '0.',
  '0 ',
];

interface Expression {
  readonly where: string;
  readonly expression: RegExp;
}

/** What may stand before an expression; before a division stands a name, a number, `)` or `]`. */
const BEFORE = /(?:^|[(,=:[!&|?{};+>]|\breturn|\bcase)\s*$/;
/** The next thing that is not plain code: comments, texts, or what may be an expression. */
const NEXT =
  /\/\/[^\n]*|\/\*[\s\S]*?\*\/|'(?:[^'\\\n]|\\.)*'|"(?:[^"\\\n]|\\.)*"|`|\/(?![/*])(?:[^/\\[\n]|\\.|\[(?:[^\]\\\n]|\\.)*\])+\/[a-z]*/g;

/** Texts with `${}` are passed through: their own letters look like code, which finds too much rather than too little. */
function expressions(): readonly Expression[] {
  const names = readdirSync(SOURCE, { recursive: true, encoding: 'utf8' }).filter((name) => name.endsWith('.ts'));
  return names.flatMap((name) => {
    const text = readFileSync(join(SOURCE, name), 'utf8');
    const found: Expression[] = [];
    NEXT.lastIndex = 0;
    for (let match = NEXT.exec(text); match !== null; match = NEXT.exec(text)) {
      const [token] = match;
      if (!token.startsWith('/') || token.startsWith('//') || token.startsWith('/*')) continue;
      const end = token.lastIndexOf('/');
      if (!BEFORE.test(text.slice(Math.max(0, match.index - 40), match.index))) {
        NEXT.lastIndex = match.index + 1;
        continue;
      }
      const where = `${name}:${text.slice(0, match.index).split('\n').length} ${token}`;
      const expression = attempt(() => new RegExp(token.slice(1, end), token.slice(end + 1)));
      if (expression !== null) found.push({ where, expression });
    }
    return found;
  });
}

const attempt = <T>(make: () => T): T | null => {
  try {
    return make();
  } catch {
    return null;
  }
};

/** Words that the expression itself looks for are what leads an attack past its first step. */
const words = ({ source }: RegExp): readonly string[] => [
  ...new Set(
    source
      .replaceAll(/\\[dDsSwWbBnrt0]|\[(?:[^\]\\]|\\.)*\]|\{[^}]*\}|\?<?[:=!]|[\^$*+?()|]/g, '\u0000')
      .replaceAll(/\\(.)/g, '$1')
      .split('\u0000')
      .filter((word) => word !== ''),
  ),
];

/** The best of three: what else runs on the machine only adds. */
function cost(expression: RegExp, text: string): number {
  const times = [0, 1, 2].map(() => {
    const began = performance.now();
    if (expression.global) text.replaceAll(expression, '');
    else {
      expression.lastIndex = 0;
      expression.exec(text);
    }
    return performance.now() - began;
  });
  return Math.min(...times);
}

function hostile(expression: RegExp): readonly ((length: number) => string)[] {
  const found = words(expression).slice(0, 8);
  const pumps = [...CHARACTERS, ...found, ...found.map((word) => `${word} `), ...found.map((word) => `${word}a`)];
  const starts = ['', ...found];
  return pumps.flatMap((pump) =>
    starts.map((start) => (length: number) => `${start}${pump.repeat(Math.ceil(length / pump.length))}\u0001`),
  );
}

it('no expression of the program takes quadratic time on hostile text', () => {
  const all = expressions();
  expect(all.length).toBeGreaterThan(300);
  const slow: string[] = [];
  for (const { where, expression } of all) {
    for (const make of hostile(expression)) {
      const longer = cost(expression, make(4 * LENGTH));
      if (longer < LEAST_MS) continue;
      const shorter = cost(expression, make(LENGTH));
      if (longer / shorter < TOO_MUCH) continue;
      // By then the expression is compiled, which a first look may not have had.
      if (cost(expression, make(16 * LENGTH)) / cost(expression, make(4 * LENGTH)) < TOO_MUCH) continue;
      slow.push(`${where}: ${shorter.toFixed(1)} ms, then ${longer.toFixed(1)} ms for four times ${JSON.stringify(make(12))}`);
      break;
    }
  }
  expect(slow).toEqual([]);
}, 300_000);
