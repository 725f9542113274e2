import type { Positioned } from '../text/positioned-text.ts';
import { looksSecret, shownSetting } from '../text/redact-config.ts';
import { allowedValues, type ConfigLeaf } from './keys.ts';
import type { ConfigProblem, Setting } from './setting.ts';

/** The parts of zod's issues that messages are made of. */
export interface SchemaIssue {
  readonly code: string;
  readonly path: readonly PropertyKey[];
  readonly message: string;
  readonly keys?: readonly string[];
  readonly errors?: readonly (readonly SchemaIssue[])[];
}

/** What the schema found wrong, each as one line that tells where it was set, what was found and what is allowed. */
export function issueProblems(
  issues: readonly SchemaIssue[],
  settings: ReadonlyMap<string, Setting>,
  leaves: readonly ConfigLeaf[],
  lineOf: Positioned['lineOf'] | null,
): ConfigProblem[] {
  return issues.map((issue) => {
    const inner = innermost(issue);
    const parts = inner.path.map(String);
    const leaf = leaves.find(({ key }) => parts.join('.') === key || parts.join('.').startsWith(`${key}.`));
    const key = leaf?.key ?? parts.join('.');
    const setting = settings.get(key);
    const below = parts.slice(key.split('.').length);
    const line = setting?.source === 'file' && lineOf !== null ? lineOf(parts) : (setting?.line ?? null);
    return {
      key: withIndexes(key, below),
      source: setting?.source ?? 'default',
      origin: setting?.origin ?? null,
      line,
      code: 'CONFIG_INVALID',
      message: message(inner, leaf, setting, below),
    };
  });
}

/** `models.required[2].path`. */
const withIndexes = (key: string, below: readonly string[]): string =>
  below.reduce((path, part) => (/^\d+$/.test(part) ? `${path}[${part}]` : `${path}.${part}`), key);

/** Of a union, the complaint of the member that came furthest: its author meant that one. */
function innermost(issue: SchemaIssue): SchemaIssue {
  const nested = (issue.errors ?? []).flat().filter(({ path, code }) => path.length > 0 || code === 'unrecognized_keys');
  const [deepest] = nested.sort((a, b) => b.path.length - a.path.length);
  return deepest === undefined ? issue : innermost({ ...deepest, path: [...issue.path, ...deepest.path] });
}

function message(issue: SchemaIssue, leaf: ConfigLeaf | undefined, setting: Setting | undefined, below: readonly string[]): string {
  if (issue.code === 'unrecognized_keys')
    return `there is no such key: ${(issue.keys ?? []).join(', ')}${leaf === undefined ? '' : `; allowed: ${allowedValues(leaf)}`}`;
  const found = below.reduce<unknown>((value, part) => (value as Readonly<Record<string, unknown>> | undefined)?.[part], setting?.written);
  const name = below.at(-1) ?? leaf?.key ?? '';
  // Zod's own words, except where the schema has better ones.
  const isStandard = /^(Invalid|Too (small|big))/.test(issue.message);
  const allowed = !isStandard
    ? issue.message
    : leaf === undefined
      ? issue.message
      : below.length > 0 && !/^Invalid (input|option)/.test(issue.message)
        ? `${issue.message.charAt(0).toLowerCase()}${issue.message.slice(1)}`
        : allowedValues(leaf);
  return `found ${looksSecret(name) ? 'a value' : shownSetting(name, found)}; allowed: ${allowed}`;
}
