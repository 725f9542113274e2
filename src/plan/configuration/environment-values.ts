/** How the text of an environment variable becomes a value of the configuration. */

/** Null: the variable says nothing about this setting. */
type Reading = { readonly value: unknown } | { readonly allowed: string } | null;
export type ReadValue = (text: string) => Reading;

const TRUE = new Set(['1', 'true', 'yes', 'on']);
const FALSE = new Set(['0', 'false', 'no', 'off']);

export const text: ReadValue = (written) => ({ value: written });

export const boolean: ReadValue = (written) => {
  const word = written.toLowerCase();
  if (TRUE.has(word)) return { value: true };
  return FALSE.has(word) ? { value: false } : { allowed: 'true or false (1, 0, yes, no, on, off)' };
};

export const integer: ReadValue = (written) =>
  /^[+-]?\d{1,15}$/.test(written) ? { value: Number(written) } : { allowed: 'a whole number' };

/** A number of GPUs; `all` and `auto` are the default said aloud. */
export const count: ReadValue = (written) => (/^(all|auto)$/i.test(written) ? { value: null } : integer(written));

/** One of the words, in any case; `others` maps further words to values, null where they say nothing. */
export const word =
  (words: readonly string[], others: Readonly<Record<string, string | null>> = {}): ReadValue =>
  (written) => {
    const lower = written.toLowerCase();
    if (words.includes(lower)) return { value: lower };
    const other = others[lower];
    if (other !== undefined) return other === null ? null : { value: other };
    return { allowed: [...Object.keys(others).filter((name) => others[name] === null), ...words].join(', ') };
  };

/** True means the value, false says nothing. */
export const trueMeans =
  (value: string): ReadValue =>
  (written) => {
    const reading = boolean(written);
    if (reading === null || !('value' in reading)) return reading;
    return reading.value === true ? { value } : null;
  };

/** Whatever it says, the value follows from its being set. */
export const setMeans =
  (value: string): ReadValue =>
  () => ({ value });

const list = (parts: readonly string[]): Reading => {
  const values = parts.map((part) => part.trim()).filter((part) => part !== '');
  return values.length === 0 ? null : { value: values };
};

export const byComma: ReadValue = (written) => list(written.split(','));
export const bySpace: ReadValue = (written) => list(written.split(/\s+/));

/** uv lets an index be written name=URL. */
export const indexes: ReadValue = (written) => list(written.split(/\s+/).map((index) => index.replace(/^[\w-]+=(?=[a-z]+:)/i, '')));

/** `20m`, `1g`, `500k` or bytes, as whole MiB of at least 1. */
export const megabytes: ReadValue = (written) => {
  const match = /^(\d{1,9})\s*([kmg]?)b?$/i.exec(written);
  if (match === null) return { allowed: 'a size such as 20m' };
  const unit = { '': 1, k: 2 ** 10, m: 2 ** 20, g: 2 ** 30 }[(match[2] ?? '').toLowerCase()] ?? 1;
  return { value: Math.max(1, Math.round((Number(match[1]) * unit) / 2 ** 20)) };
};

/** `55s`, `2m` or `1500ms` as milliseconds; a bare number counts seconds, as in the options of container tools. */
export const seconds: ReadValue = (written) => {
  const match = /^(\d{1,6})\s*(ms|s|m)?$/i.exec(written);
  if (match === null) return { allowed: 'a time such as 55s or 2m' };
  return { value: Number(match[1]) * ({ ms: 1, s: 1_000, m: 60_000 }[(match[2] ?? 's').toLowerCase()] ?? 1_000) };
};

export const words: ReadValue = (written) => {
  const split = splitWords(written);
  if (split === null) return { allowed: 'words as a shell would read them; a quote is not closed' };
  return split.length === 0 ? null : { value: split };
};

/**
 * Words as a POSIX shell splits them: quotes and backslashes count, nothing is expanded.
 * @returns null when a quote is not closed or a backslash stands last
 */
export function splitWords(line: string): string[] | null {
  const found: string[] = [];
  let current: string | null = null;
  for (let i = 0; i < line.length; i++) {
    const letter = line[i] ?? '';
    if (letter === "'") {
      const end = line.indexOf("'", i + 1);
      if (end < 0) return null;
      current = (current ?? '') + line.slice(i + 1, end);
      i = end;
    } else if (letter === '"') {
      const quoted = /^"((?:[^"\\]|\\[\s\S])*)"/.exec(line.slice(i));
      if (quoted === null) return null;
      current = (current ?? '') + (quoted[1] ?? '').replace(/\\(["\\$`])/g, '$1');
      i += quoted[0].length - 1;
    } else if (letter === '\\') {
      i += 1;
      if (i >= line.length) return null;
      current = (current ?? '') + line[i];
    } else if (/\s/.test(letter)) {
      if (current !== null) found.push(current);
      current = null;
    } else current = (current ?? '') + letter;
  }
  if (current !== null) found.push(current);
  return found;
}
