/**
 * Requirement files as far as the agent itself looks into them: names for messages, and which pack asked for what. uv
 * reads the files for real; a line that is not understood here is `other` and never an error.
 */

export type Requirement =
  | {
      readonly kind: 'package';
      readonly name: string;
      readonly specifier: string;
      readonly url: string | null;
      readonly marker: string | null;
    }
  /** A bare URL or VCS line; the name is known only when `#egg=` or a wheel's file name tells it. */
  | { readonly kind: 'url'; readonly name: string | null; readonly url: string }
  | { readonly kind: 'include'; readonly file: string; readonly constraint: boolean }
  | { readonly kind: 'other'; readonly text: string };

/** PEP 503: lower case, runs of `-_.` become one `-`. */
export const normaliseName = (name: string): string => name.toLowerCase().replace(/[-_.]+/g, '-');

/** Specifier without spaces and in a fixed order, so that `>=1, <2` and `<2,>=1` compare equal. */
export const normaliseSpecifier = (specifier: string): string =>
  specifier
    .replace(/[\s()]/g, '')
    .split(',')
    .filter((part) => part !== '')
    .sort()
    .join(',');

/** A requirement where it stands. */
export interface LocatedRequirement {
  readonly requirement: Requirement;
  /** The line as written, without its comment; continued lines joined by a space. */
  readonly line: string;
  /** From 1; the first of continued lines. */
  readonly lineNumber: number;
}

/** All requirements of a file's text with their places: comments dropped, continued lines joined. */
export function locateRequirements(text: string): LocatedRequirement[] {
  const located: LocatedRequirement[] = [];
  let pending = '';
  let first = 1;
  for (const [index, raw] of text
    .replace(/^\uFEFF/, '')
    .split(/\r?\n/)
    .entries()) {
    if (pending === '') first = index + 1;
    if (raw.endsWith('\\')) {
      pending += `${raw.slice(0, -1)} `;
      continue;
    }
    const line = (pending + raw).replace(/(^|\s)#.*$/, '').trim();
    pending = '';
    if (line !== '') located.push({ requirement: parseRequirement(line), line, lineNumber: first });
  }
  const rest = pending.replace(/(^|\s)#.*$/, '').trim();
  return rest === '' ? located : [...located, { requirement: parseRequirement(rest), line: rest, lineNumber: first }];
}

export const parseRequirements = (text: string): Requirement[] => locateRequirements(text).map(({ requirement }) => requirement);

const PACKAGE = /^([A-Za-z0-9](?:[\w.-]*[A-Za-z0-9])?)\s*(?:\[[^\]]*\])?\s*(.*)$/;
const URL_LINE = /^(?:(?:git|hg|svn|bzr)\+\S|[a-z][a-z0-9+.-]*:\/\/|file:)/i;

/** One line, comment and continuation already gone. */
export function parseRequirement(line: string): Requirement {
  const option = /^(-r|--requirement|-c|--constraint|-e|--editable)(?:\s+|=|(?=[^-\s]))(.+)$/.exec(line);
  if (option !== null) {
    const value = (option[2] ?? '').trim();
    if (option[1] === '-e' || option[1] === '--editable') return { kind: 'url', name: nameInUrl(value), url: value };
    return { kind: 'include', file: value.replace(/^(["'])(.*)\1$/, '$2'), constraint: option[1] === '-c' || option[1] === '--constraint' };
  }
  if (line.startsWith('-')) return { kind: 'other', text: line };
  if (URL_LINE.test(line)) {
    const url = line.split(/\s+;|\s/)[0] ?? line;
    return { kind: 'url', name: nameInUrl(url), url };
  }
  const match = PACKAGE.exec(line);
  if (match === null) return { kind: 'other', text: line };
  const name = normaliseName(match[1] ?? '');
  // Hashes and other options of one requirement say nothing about what is asked for.
  const rest = (match[2] ?? '').replace(/(?<!\s)\s+--\w.*$/, '');
  if (rest.startsWith('@')) {
    const [url = '', marker] = rest
      .slice(1)
      .trim()
      .split(/(?<!\s)\s+;\s*/);
    return { kind: 'package', name, specifier: '', url, marker: marker ?? null };
  }
  const [specifier = '', marker] = rest.split(/(?<!\s)\s*;\s*/);
  if (specifier !== '' && !/^\(?\s*(?:===|[=<>!~]=|[<>])/.test(specifier)) return { kind: 'other', text: line };
  return { kind: 'package', name, specifier: normaliseSpecifier(specifier), url: null, marker: marker ?? null };
}

function nameInUrl(url: string): string | null {
  const egg = /(?:^#|&)egg=([A-Za-z0-9][\w.-]*)/.exec(/#.*/.exec(url)?.[0] ?? '')?.[1];
  const wheel = /(?<![\w.])([A-Za-z0-9][\w.]{0,200})-\d[^/]{0,200}\.whl(?:[#?].{0,500})?$/.exec(url)?.[1];
  const name = egg ?? wheel;
  return name === undefined ? null : normaliseName(name);
}

/** An option that names a place to take packages from. In a pack's file it would hold for everybody's packages. */
export const isIndexOption = (line: string): boolean =>
  /^(?:-i|-f|--index-url|--extra-index-url|--find-links|--no-index|--trusted-host)(?:[\s=]|$)/.test(line);

/** Names a text asks for, in order and without repetition. Included files are not followed. */
export function requirementNames(text: string): string[] {
  const names = parseRequirements(text).flatMap((requirement) =>
    requirement.kind === 'package' || (requirement.kind === 'url' && requirement.name !== null) ? [requirement.name ?? ''] : [],
  );
  return [...new Set(names)];
}

/** Masks user names and passwords of URLs inside any text. `git@` of SSH is no secret and stays. */
export const redactUrls = (text: string): string => text.replace(/([a-z][a-z0-9+.-]{0,31}:\/\/)(?!git@)[^/\s@'"`]+@/gi, '$1***@');
