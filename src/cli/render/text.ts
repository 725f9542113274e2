import { stripVTControlCharacters } from 'node:util';

/** Text in columns of a terminal: how wide it is, where it breaks, where it is cut. */

/** Wide in every terminal: CJK, Hangul, full-width forms, emoji. */
const WIDE =
  /[\u1100-\u115f\u2e80-\u303e\u3041-\ua4cf\uac00-\ud7a3\uf900-\ufaff\ufe30-\ufe6f\uff00-\uff60\uffe0-\uffe6]|[\u{1f300}-\u{1faff}\u{20000}-\u{3fffd}]/u;
/** Takes no column of its own: combining marks, joiners, variation selectors. */
const NARROW = /\p{Mn}|\p{Me}|\p{Cf}/u;

/** Columns that a text takes; colours take none. */
export function widthOf(text: string): number {
  const plain = stripVTControlCharacters(text);
  // biome-ignore lint/suspicious/noControlCharactersInRegex: plain ASCII is one column each
  if (/^[\x00-\x7f]*$/.test(plain)) return plain.length;
  let width = 0;
  for (const character of plain) width += NARROW.test(character) ? 0 : WIDE.test(character) ? 2 : 1;
  return width;
}

/** One line, nothing that moves the cursor or changes the terminal: names and reasons come from foreign programs. */
export const clean = (text: string): string =>
  stripVTControlCharacters(text)
    // biome-ignore lint/suspicious/noControlCharactersInRegex: control characters are what is removed
    .replace(/[\u0000-\u001f\u007f-\u009f]+/g, ' ')
    .trim();

/** Cut to `width` columns, with a mark where something is missing. For text without colours. */
export function cut(text: string, width: number, ellipsis: string): string {
  if (widthOf(text) <= width) return text;
  const room = Math.max(0, width - widthOf(ellipsis));
  let taken = '';
  let used = 0;
  for (const character of text) {
    used += widthOf(character);
    if (used > room) break;
    taken += character;
  }
  return `${taken}${ellipsis}`;
}

export const padEnd = (text: string, width: number): string => text + ' '.repeat(Math.max(0, width - widthOf(text)));
export const padStart = (text: string, width: number): string => ' '.repeat(Math.max(0, width - widthOf(text))) + text;

/** Breaks a text into lines of at most `width` columns, at spaces where there are some. Width 0: one line. */
export function wrap(text: string, width: number): string[] {
  if (width <= 0 || widthOf(text) <= width) return [text];
  const lines: string[] = [];
  let line = '';
  for (const word of text.split(' ')) {
    if (line !== '' && widthOf(line) + 1 + widthOf(word) > width) {
      lines.push(line);
      line = word;
    } else line = line === '' ? word : `${line} ${word}`;
  }
  return [...lines, line];
}

/** A paragraph whose lines all begin below each other: `prefix` first, then as many spaces. */
export function hanging(prefix: string, text: string, columns: number): string[] {
  const indent = widthOf(prefix);
  return wrap(text, columns > indent + 20 ? columns - indent : 0).map(
    (line, index) => `${index === 0 ? prefix : ' '.repeat(indent)}${line}`,
  );
}

export const plural = (count: number, one: string, many = `${one}s`): string => `${count} ${count === 1 ? one : many}`;
