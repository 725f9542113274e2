import { redactGitText } from '../../domain/installation/git-url.ts';
import { looksSecret } from './redact-config.ts';

export interface Redactor {
  text(content: string): string;
  /** By names as well as by content; what is no JSON is treated as text. */
  json(content: string): string;
}

/** Shorter values would mask ordinary words. */
const SHORTEST_SECRET = 6;
/** `token=abc`, `"api_key": "abc"`, `Authorization: Bearer abc` in logs of foreign programs. */
const NAME = /(?<![\w.-])([\w.-]+)["']?\s*[:=]\s*["']?/g;
const SECRET_NAME = /token|secret|passw(?:or)?d|credential|api[_-]?key|access[_-]?key|private[_-]?key/i;
const VALUE = /[^\s"',;&]{6,}/y;
const HARMLESS_VALUE = /^(\*{3}|null|true|false|undefined|\/.*)$/i;
const BEARER = /(bearer\s+)[\w.~+/=-]{6,}/gi;
const PRIVATE_KEY = /-----BEGIN [A-Z ]*PRIVATE KEY-----[\s\S]*?(?:-----END [A-Z ]*PRIVATE KEY-----|$)/g;

/** Masks what must not leave the machine: values of secret variables, credentials in URLs, and what stands under secret names. */
export function createRedactor(environment: Readonly<Record<string, string | undefined>>): Redactor {
  const secrets = Object.entries(environment)
    .filter(([name, value]) => value !== undefined && value.length >= SHORTEST_SECRET && (looksSecret(name) || /^CUT_PK_\d$/.test(name)))
    .map(([, value]) => value ?? '')
    // The longest first: one may be part of another.
    .sort((a, b) => b.length - a.length);
  const text = (content: string): string =>
    withoutAssigned(redactGitText(content, secrets).replace(PRIVATE_KEY, '***')).replace(BEARER, '$1***');
  return {
    text,
    json(content) {
      try {
        return text(`${JSON.stringify(masked(JSON.parse(content)), null, 2)}\n`);
      } catch {
        return text(content);
      }
    },
  };
}

/**
 * By hand, in time that grows with the text: names are looked at one by one, each from its beginning, and a value only where its
 * name is one of a secret. One expression for both would go through a line without a break once for each of its characters.
 */
function withoutAssigned(text: string): string {
  let masked = '';
  let done = 0;
  NAME.lastIndex = 0;
  for (let match = NAME.exec(text); match !== null; match = NAME.exec(text)) {
    VALUE.lastIndex = NAME.lastIndex;
    const value = SECRET_NAME.test(match[1] ?? '') ? VALUE.exec(text)?.[0] : undefined;
    if (value === undefined || HARMLESS_VALUE.test(value)) continue;
    masked += `${text.slice(done, NAME.lastIndex)}***`;
    done = NAME.lastIndex + value.length;
    NAME.lastIndex = done;
  }
  return masked + text.slice(done);
}

/** Whole sections named `env` or `environment` hold values of packs and instances: only their names are kept. */
function masked(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(masked);
  if (value === null || typeof value !== 'object') return value;
  return Object.fromEntries(
    Object.entries(value).map(([key, member]) => {
      if ((key === 'env' || key === 'environment') && member !== null && typeof member === 'object')
        return [key, Object.fromEntries(Object.keys(member).map((name) => [name, '***']))];
      return [key, typeof member === 'object' ? masked(member) : looksSecret(key) && typeof member === 'string' ? '***' : member];
    }),
  );
}
