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
    ['as locked', { commit, changed: [] }, []],
    ['another commit', { commit: 'b'.repeat(40), changed: [] }, ['it is at bbbbbbbbbb, locked is aaaaaaaaaa']],
    ['an edited file', { commit, changed: ['nodes.py'] }, ['changed by hand: nodes.py']],
    ['many', { commit, changed: ['1', '2', '3', '4', '5', '6', '7'] }, ['changed by hand: 1, 2, 3, 4, 5 and 2 more']],
    ['gone', null, ['its work tree is gone or damaged']],
  ])('of a checkout: %s', (_what, found, messages) => {
    expect(sourceDrift('pack', 'One', git, found).map(({ message }) => message)).toEqual(messages);
  });

  it('the folders that ComfyUI gets as links are no drift, in a pack they are', () => {
    const found = { commit, changed: ['models/put_here', 'user/x', 'output/y', 'input/z'] };
    expect(sourceDrift('core', 'ComfyUI', git, found)).toEqual([]);
    expect(sourceDrift('pack', 'One', git, found)).toHaveLength(1);
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
