/** PEP 440 version specifiers, as far as constraints on what scripts install must be checked without uv. */
import { normaliseSpecifier } from '../../domain/installation/requirements.ts';

/** Release numbers, then where it stands among its kin: dev < a < b < rc < final < post. */
function keyOf(version: string): number[] | null {
  const match =
    /^v?(?:(\d+)!)?(\d+(?:\.\d+)*)[-_.]?(?:(a|b|c|rc|alpha|beta|pre|preview)[-_.]?(\d*))?(?:[-_.]?(post|rev|r)[-_.]?(\d*))?(?:[-_.]?dev[-_.]?(\d*))?$/.exec(
      version.toLowerCase(),
    );
  if (match === null) return null;
  const [whole, epoch = '0', release = '', stage, stageNumber = '0', post, postNumber = '0', dev = '0'] = match;
  const isDev = /dev/.test(whole);
  const stageRank =
    stage === undefined ? (isDev && post === undefined ? -1 : 3) : stage.startsWith('a') ? 0 : stage.startsWith('b') ? 1 : 2;
  const numbers = release.split('.').map(Number);
  while (numbers.length < 8) numbers.push(0);
  return [
    Number(epoch),
    ...numbers,
    stageRank,
    Number(stageNumber || 0),
    post === undefined ? -1 : Number(postNumber || 0),
    isDev ? Number(dev || 0) : Number.MAX_SAFE_INTEGER,
  ];
}

function compare(a: readonly number[], b: readonly number[]): number {
  for (const [i, part] of a.entries()) {
    const other = b[i] ?? 0;
    if (part !== other) return part < other ? -1 : 1;
  }
  return 0;
}

/** Whether a version is allowed; null when one of them is not understood. */
export function meetsSpecifier(version: string, specifier: string): boolean | null {
  const parts = normaliseSpecifier(specifier)
    .split(',')
    .filter((part) => part !== '');
  const results = parts.map((part) => meetsPart(version, part));
  if (results.includes(false)) return false;
  return results.includes(null) ? null : true;
}

function meetsPart(version: string, part: string): boolean | null {
  const [, operator = '', bound = ''] = /^(===|[=<>!~]=|[<>])(.+)$/.exec(part) ?? [];
  if (operator === '') return null;
  if (operator === '===') return version === bound;
  const [own, local = ''] = version.split('+');
  const [asked = '', askedLocal] = bound.split('+');
  const key = keyOf(own ?? '');
  if (key === null) return null;
  if (asked.endsWith('.*')) {
    const prefix = asked.slice(0, -2).split('.').map(Number);
    const matches = prefix.every((number, i) => key[i + 1] === number);
    return operator === '==' ? matches : operator === '!=' ? !matches : null;
  }
  const askedKey = keyOf(asked);
  if (askedKey === null) return null;
  const order = compare(key, askedKey);
  switch (operator) {
    case '==':
      return order === 0 && (askedLocal === undefined || askedLocal === local);
    case '!=':
      return order !== 0 || (askedLocal !== undefined && askedLocal !== local);
    case '<=':
      return order <= 0;
    case '>=':
      return order >= 0;
    case '<':
      return order < 0;
    case '>':
      return order > 0;
    default: {
      // ~=: at least this, and equal in all numbers but the last.
      const prefix = asked.split('.').slice(0, -1).map(Number);
      return order >= 0 && prefix.every((number, i) => key[i + 1] === number);
    }
  }
}
