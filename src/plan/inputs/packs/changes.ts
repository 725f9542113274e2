import type { PackSpec } from '../../../domain/installation/release.ts';

const MOST_NAMES = 8;

const named = (verb: string, names: readonly string[]): string[] => {
  const more = names.length > MOST_NAMES ? ` and ${names.length - MOST_NAMES} more` : '';
  return names.length === 0 ? [] : [`${verb} ${names.slice(0, MOST_NAMES).join(', ')}${more}`];
};

/** What a list of packs asks for beside another one, in words; null: the same. */
export function packChanges(before: readonly PackSpec[], after: readonly PackSpec[]): string | null {
  const known = new Map(before.map((pack) => [pack.name, JSON.stringify(pack)]));
  const wanted = new Set(after.map(({ name }) => name));
  const words = [
    ...named(
      'adds',
      after.filter(({ name }) => !known.has(name)).map(({ name }) => name),
    ),
    ...named(
      'changes',
      after.filter((pack) => known.has(pack.name) && known.get(pack.name) !== JSON.stringify(pack)).map(({ name }) => name),
    ),
    ...named(
      'removes',
      before.filter(({ name }) => !wanted.has(name)).map(({ name }) => name),
    ),
  ];
  return words.length === 0 ? null : words.join('; ');
}
