import { describe, expect, it } from 'vitest';
import type { LockedPackage, LockedSource } from '../../../../src/domain/installation/lock.ts';
import { modelDrift, packageDrift, sourceDrift } from '../../../../src/plan/installation/drift.ts';

const commit = 'a'.repeat(40);
const git: LockedSource = { kind: 'git', url: 'https://example.com/x.git', branch: null, commit, commitDate: null, submodules: [] };
const locked = (name: string, version: string | null, url: string | null = null): LockedPackage => ({
  name,
  version,
  url,
  hashes: [],
  addedBy: null,
});

describe('drift', () => {
  it.each([
    ['as locked', commit, [], []],
    ['another commit', 'b'.repeat(40), [], ['it is at bbbbbbbbbb, locked is aaaaaaaaaa']],
    ['no word of a commit', null, [], []],
    ['an edited file', commit, ['nodes.py'], ['changed by hand: nodes.py']],
    ['many', commit, ['1', '2', '3', '4', '5', '6', '7'], ['changed by hand: 1, 2, 3, 4, 5 and 2 more']],
    ['nothing noted', commit, null, ['its files are gone, or the record of them']],
  ])('of a checkout: %s', (_what, head, changed, messages) => {
    expect(sourceDrift('pack', 'One', git, head, changed).map(({ message }) => message)).toEqual(messages);
  });

  it('the folders that ComfyUI gets as links are no drift, in a pack they are', () => {
    const found = ['models/put_here', 'user/x', 'output/y', 'input/z'];
    expect(sourceDrift('core', 'ComfyUI', git, commit, found)).toEqual([]);
    expect(sourceDrift('pack', 'One', git, commit, found)).toHaveLength(1);
  });

  it('of packages: missing, other, added; a VCS package has no version to compare', () => {
    const found = { numpy: '2.1.0', vcs: '0.3', rich: '14.0' };
    expect(packageDrift([locked('numpy', '2.2.0'), locked('six', '1.16.0'), locked('vcs', null, 'git+https://x')], found)).toEqual([
      { part: 'package', name: 'numpy', message: 'it is 2.1.0, locked is 2.2.0' },
      { part: 'package', name: 'six', message: 'six==1.16.0 is missing' },
      { part: 'package', name: 'rich', message: '14.0 was added by hand' },
    ]);
  });

  it('of models: missing and corrupt, never unknown', () => {
    const model = (state: 'present' | 'missing' | 'corrupt' | 'unknown') => ({
      path: state,
      requiredBy: [],
      state,
      sizeBytes: null,
      reason: 'why',
    });
    const all = (['present', 'missing', 'corrupt', 'unknown'] as const).map(model);
    expect(modelDrift(all).map(({ name }) => name)).toEqual(['missing', 'corrupt']);
  });
});
