/** JSON with sorted keys and no spaces, so that equal values give equal text. */
export function canonicalJson(value: unknown): string {
  if (Array.isArray(value)) return `[${value.map(canonicalJson).join(',')}]`;
  if (value !== null && typeof value === 'object') {
    const entries = Object.entries(value).filter(([, member]) => member !== undefined);
    entries.sort(([a], [b]) => (a < b ? -1 : a > b ? 1 : 0));
    return `{${entries.map(([key, member]) => `${JSON.stringify(key)}:${canonicalJson(member)}`).join(',')}}`;
  }
  return JSON.stringify(value) ?? 'null';
}

const sha256 = (text: string): string =>
  // Loaded when it is used: a short command never does, and it takes a tenth of its time.
  process.getBuiltinModule('node:crypto').createHash('sha256').update(text).digest('hex');

/** sha256 in hex over the canonical JSON of a value. */
export const digestOf = (value: unknown): string => sha256(canonicalJson(value));

/** sha256 in hex over a text, as `sha256sum` gives it for a file of that text. */
export const textDigest = (text: string): string => sha256(text);
