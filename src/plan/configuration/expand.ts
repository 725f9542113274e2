/** `${NAME}` and `${NAME:-default}` in text; `$${` writes a literal `${`. */
const REFERENCE = /\$\$\{|\$\{([^}]*)\}/g;
const INSIDE = /^([A-Za-z_][A-Za-z0-9_]*)(?::-([\s\S]*))?$/;

export interface Expansion {
  readonly text: string;
  /** Variables that were named, whether set or not. */
  readonly names: readonly string[];
  /** Named, not set, and without default. */
  readonly unset: readonly string[];
  /** References that are no variable name: `${}`, `${a b}`. */
  readonly malformed: readonly string[];
}

/** An empty variable counts as set, but takes its default, as in a shell. Defaults are taken as written. */
export function expandReferences(text: string, environment: Readonly<Record<string, string | undefined>>): Expansion {
  const names: string[] = [];
  const unset: string[] = [];
  const malformed: string[] = [];
  const expanded = text.replace(REFERENCE, (whole, inner: string | undefined) => {
    if (inner === undefined) return '${';
    const [, name, fallback] = INSIDE.exec(inner) ?? [];
    if (name === undefined) {
      malformed.push(whole);
      return whole;
    }
    names.push(name);
    const value = environment[name];
    if (fallback !== undefined && (value === undefined || value === '')) return fallback;
    if (value === undefined) unset.push(name);
    return value ?? '';
  });
  return { text: expanded, names, unset, malformed };
}
