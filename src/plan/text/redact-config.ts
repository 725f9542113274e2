import type { Provenance } from '../../domain/configuration/config.ts';
import { redactGitText, redactUrl } from '../../domain/installation/git-url.ts';
import { shown } from './problem.ts';

const MASK = '***';
const SECRET =
  /token|secret|passw|credential|private|auth(?!or)|bearer|cookie|(?:api|access|account|storage|encryption|signing|ssh)[-_]?key|[-_]key\b|^key$/i;
/** `tokenFile` holds a path, and paths are no secrets. */
const HARMLESS = /(file|path|dir|directory|url|mode)$/i;

/** Whether values under this name are to be hidden: `HF_TOKEN`, `password`, `apiKey`; not `tokenFile`. */
export const looksSecret = (name: string): boolean => SECRET.test(name) && !HARMLESS.test(name);

/** A copy without secrets: what stands under names that look secret, and credentials in URLs. */
export function redactValue(name: string, value: unknown): unknown {
  if (value === null || value === undefined || typeof value === 'boolean') return value;
  if (looksSecret(name)) return MASK;
  if (typeof value === 'string') return redactText(value);
  if (Array.isArray(value)) return value.map((item, index) => redactItem(name, item, value[index - 1]));
  if (typeof value === 'object') return Object.fromEntries(Object.entries(value).map(([key, member]) => [key, redactValue(key, member)]));
  return value;
}

/** Arguments: `--api-key X` and `--api-key=X`. */
function redactItem(name: string, item: unknown, before: unknown): unknown {
  if (typeof item !== 'string') return redactValue(name, item);
  if (typeof before === 'string' && /^--?[\w-]+$/.test(before) && looksSecret(before) && !item.startsWith('--')) return MASK;
  const [, flag] = /^(--?[\w-]+)=/.exec(item) ?? [];
  return flag !== undefined && looksSecret(flag) ? `${flag}=${MASK}` : redactText(item);
}

const redactText = (text: string): string => (/^[a-z][a-z0-9+.-]*:\/\//i.test(text) ? redactUrl(text) : redactGitText(text));

/** Last part of `comfyui.environment`. */
const lastPart = (key: string): string => key.slice(key.lastIndexOf('.') + 1);

/** Effective values as they may be shown: `agent config show`, the API, a support archive. */
export const redactConfig = (values: readonly Provenance[]): Provenance[] =>
  values.map((each) => ({ ...each, value: redactValue(lastPart(each.path), each.value) }));

/** A value of the key for a message: masked, short, on one line. */
export const shownSetting = (key: string, value: unknown): string => shown(redactValue(lastPart(key), value));
