import { expect, it } from 'vitest';
import { readConfigNodes } from '../../../../../src/plan/inputs/config-nodes.ts';
import { packChanges } from '../../../../../src/plan/inputs/packs/changes.ts';

const packs = (...names: readonly (string | { readonly name: string; readonly directory: string })[]) => {
  const entries = names.map((pack) => (typeof pack === 'string' ? { name: pack, url: `https://example.com/${pack}.git` } : pack));
  const result = readConfigNodes(JSON.stringify(entries), { path: 'config_nodes.json', names: null });
  if (!result.ok) throw new Error(JSON.stringify(result.problems));
  return result.packs;
};

it.each([
  [packs('a'), packs('a'), null],
  [packs('a', 'b'), packs('b', 'a'), null],
  [packs(), packs('a', 'b'), 'adds a, b'],
  [packs('a'), packs(), 'removes a'],
  [packs('a', 'b'), packs('b', { name: 'c', directory: '/closed' }), 'adds c; removes a'],
  [packs('a'), packs({ name: 'a', directory: '/closed' }), 'changes a'],
  [packs(), packs(...'abcdefghij'), 'adds a, b, c, d, e, f, g, h and 2 more'],
])('what a list of packs changes is told by name (%#)', (before, after, words) => {
  expect(packChanges(before, after)).toBe(words);
});
