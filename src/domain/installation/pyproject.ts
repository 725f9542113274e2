/** Requirements of a pyproject.toml, as far as TOML must be read for it: the array `dependencies` of the table `[project]`. */
import { type LocatedRequirement, parseRequirement } from './requirements.ts';

/**
 * @returns the dependencies with their lines; null when the file lists none itself: it has no such key, or another tool
 * fills it in (`dynamic`)
 */
export function pyprojectRequirements(text: string): LocatedRequirement[] | null {
  const start = startOfArray(text);
  return start === null ? null : strings(text, start);
}

/** Offset behind the `[` of the array. */
function startOfArray(text: string): number | null {
  let table = '';
  let offset = 0;
  for (const line of text.split('\n')) {
    const header = /^\s*\[\s*([\w.-]+)\s*\]/.exec(line);
    if (header !== null) table = header[1] ?? '';
    else if (/^\s*\[\[/.test(line)) table = '[[';
    const key = (table === 'project' ? /^\s*dependencies\s*=\s*\[/ : table === '' ? /^\s*project\.dependencies\s*=\s*\[/ : /(?!)/).exec(
      line,
    );
    if (key !== null) return offset + key[0].length;
    offset += line.length + 1;
  }
  return null;
}

const ESCAPES: Readonly<Record<string, string>> = { n: '\n', t: '\t', '"': '"', '\\': '\\' };

/** Strings up to the closing `]`; comments between them are passed over. */
function strings(text: string, start: number): LocatedRequirement[] | null {
  const found: LocatedRequirement[] = [];
  const token = /#[^\n]*|"((?:[^"\\\n]|\\.)*)"|'([^'\n]*)'|\]|[^\s,]/gy;
  token.lastIndex = start;
  for (;;) {
    const gap = /[\s,]*/y;
    gap.lastIndex = token.lastIndex;
    gap.exec(text);
    token.lastIndex = gap.lastIndex;
    const at = token.lastIndex;
    const match = token.exec(text);
    if (match === null) return null;
    const [whole, basic, literal] = match;
    if (whole === ']') return found;
    if (whole.startsWith('#')) continue;
    const line = (basic?.replace(/\\(.)/g, (_, escaped: string) => ESCAPES[escaped] ?? escaped) ?? literal)?.trim();
    // Not an array of plain strings: nothing is known rather than a part of it.
    if (line === undefined) return null;
    if (line !== '') found.push({ requirement: parseRequirement(line), line, lineNumber: text.slice(0, at).split('\n').length });
  }
}
