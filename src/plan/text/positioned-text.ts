import { isAlias, isMap, isScalar, isSeq, LineCounter, type Node, parseDocument } from 'yaml';
import { isTooDeep, MAX_DEPTH } from '../../domain/text/depth.ts';
import { problemList, type TextProblem } from './problem.ts';

/** Larger files are no configuration. */
const MAX_TEXT_BYTES = 1024 * 1024;
/** Nodes that aliases of one file may stand for: enough for people, too few for an alias bomb. */
const MAX_ALIASES = 100;

/** A parsed text that still knows on which line each value stands. */
export interface Positioned {
  readonly value: unknown;
  /** Line of the key or list item, else of the nearest one around it; from 1. */
  readonly lineOf: (path: readonly (string | number)[]) => number | null;
}

export type PositionedResult =
  | { readonly ok: true; readonly text: Positioned }
  | { readonly ok: false; readonly problems: readonly TextProblem[] };

export interface YamlOptions {
  readonly path: string;
  /** `<<` merges another mapping, as Python's yaml does. */
  readonly merge?: boolean;
}

/** YAML with positions; JSON is a part of it. Repeated keys, several documents and alias bombs are problems. */
export function readYaml(text: string, { path, merge = false }: YamlOptions): PositionedResult {
  return guarded(text, path, (content, found) => {
    const lines = new LineCounter();
    const document = parseDocument(content, { lineCounter: lines, merge, prettyErrors: false });
    for (const error of document.errors) {
      const { line, col } = lines.linePos(error.pos[0]);
      found.push({ path, line, column: col, subject: null, message: firstLine(error.message), fix: null });
    }
    if (found.length > 0) return null;
    const value = document.toJS({ maxAliasCount: MAX_ALIASES }) as unknown;
    return shallow(value, lineFinder(document.contents, lines), path, found);
  });
}

/** Strict JSON with positions. Repeated keys are problems, except comments such as `"//"`. */
export function readJson(
  text: string,
  { path, isComment }: { readonly path: string; readonly isComment: (key: string) => boolean },
): PositionedResult {
  return guarded(text, path, (content, found) => {
    let value: unknown;
    try {
      value = JSON.parse(content);
    } catch (error) {
      found.push(jsonProblem(content, path, error instanceof Error ? error.message : String(error)));
      return null;
    }
    const lines = new LineCounter();
    // The value is JSON's own; YAML, which contains JSON, only tells where things stand.
    const document = parseDocument(content, { lineCounter: lines, prettyErrors: false });
    for (const error of document.errors) {
      const { line, col } = lines.linePos(error.pos[0]);
      const key = /^"((?:[^"\\]|\\.)*)"/.exec(content.slice(error.pos[0]))?.[1] ?? '';
      if (error.code === 'DUPLICATE_KEY' && !isComment(key))
        found.push({
          path,
          line,
          column: col,
          subject: null,
          message: `the key "${key}" stands twice in one object`,
          fix: 'remove one of them',
        });
    }
    return found.length > 0 ? null : shallow(value, lineFinder(document.contents, lines), path, found);
  });
}

function guarded(text: string, path: string, read: (content: string, found: TextProblem[]) => Positioned | null): PositionedResult {
  const found: TextProblem[] = [];
  const refuse = (message: string): PositionedResult => {
    const list = problemList(path);
    list.problem(null, null, message);
    return { ok: false, problems: list.problems };
  };
  if (Buffer.byteLength(text) > MAX_TEXT_BYTES) return refuse(`it is larger than ${MAX_TEXT_BYTES} bytes`);
  try {
    const positioned = read(text.replace(/^\uFEFF/, ''), found);
    return positioned === null ? { ok: false, problems: found } : { ok: true, text: positioned };
  } catch (error) {
    // Too many aliases, or nested deeper than the stack.
    return refuse(`it cannot be read: ${firstLine(error instanceof Error ? error.message : String(error))}`);
  }
}

/** Whoever walks what was read may recurse: it ends, and soon. */
function shallow(value: unknown, lineOf: Positioned['lineOf'], path: string, found: TextProblem[]): Positioned | null {
  if (!isTooDeep(value)) return { value, lineOf };
  const key = Object.entries(value as object).find(([, member]) => isTooDeep(member))?.[0];
  found.push({
    path,
    line: lineOf(key === undefined ? [] : [key]),
    column: null,
    subject: null,
    message: `${key === undefined ? 'it' : JSON.stringify(key.slice(0, 80))} holds itself, or is nested deeper than ${MAX_DEPTH} levels`,
    fix: null,
  });
  return null;
}

const firstLine = (text: string): string => text.split('\n')[0] ?? text;

function lineFinder(root: Node | null, lines: LineCounter): Positioned['lineOf'] {
  return (path) => {
    let node: unknown = root;
    let offset = root?.range?.[0];
    for (const step of path) {
      if (isMap(node)) {
        const pair = node.items.find((item) => isScalar(item.key) && String(item.key.value) === String(step));
        if (pair === undefined) break;
        offset = (pair.key as Node).range?.[0] ?? offset;
        node = pair.value;
      } else if (isSeq(node)) {
        node = node.items[Number(step)];
        offset = (node as Node | undefined)?.range?.[0] ?? offset;
      } else break;
      if (isAlias(node)) break;
    }
    return offset === undefined ? null : lines.linePos(offset).line;
  };
}

/** JSON.parse tells the place of some errors only; the others are the first token that cannot follow the one before. */
function jsonProblem(text: string, path: string, reason: string): TextProblem {
  const told = /at position (\d+)/.exec(reason)?.[1];
  const fault = told === undefined ? firstFault(text) : { at: Number(told), message: reason.replace(/( in JSON)? at position.*/, '') };
  const before = text.slice(0, fault.at);
  const line = before.split('\n').length;
  const column = fault.at - before.lastIndexOf('\n');
  const quoted = (text.split('\n')[line - 1] ?? '').trim().slice(0, 80);
  return {
    path,
    line,
    column,
    subject: null,
    message: `it is not valid JSON: ${fault.message}${quoted === '' ? '' : `: ${quoted}`}`,
    fix: null,
  };
}

/** Faults inside strings are among those whose place JSON.parse tells. */
const TOKEN = /[ \t\r\n]+|"(?:[^"\\]|\\[\s\S])*"|-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?|true|false|null|[{}[\],:]/y;

function firstFault(text: string): { readonly at: number; readonly message: string } {
  const token = new RegExp(TOKEN);
  let previous = '';
  while (token.lastIndex < text.length) {
    const at = token.lastIndex;
    const match = token.exec(text)?.[0];
    if (match === undefined) {
      const isComment = /^(\/\/|\/\*|#)/.test(text.slice(at));
      return {
        at,
        message: isComment
          ? 'JSON has no comments'
          : text[at] === "'"
            ? 'JSON wants double quotes'
            : `unexpected ${JSON.stringify(text[at])}`,
      };
    }
    if (/^[ \t\r\n]/.test(match)) continue;
    if (previous === ',' && (match === '}' || match === ']')) return { at, message: `there is a comma before this ${match}` };
    if ((previous === '' || /^[,:[{]$/.test(previous)) && /^[,:}\]]$/.test(match) && previous + match !== '{}' && previous + match !== '[]')
      return { at, message: `unexpected ${match}` };
    previous = match;
  }
  return { at: text.length, message: 'it ends too early' };
}
