import { describe, expect, it } from 'vitest';
import type { BundleManifest } from '../../../../src/domain/installation/bundle.ts';
import type { Lock } from '../../../../src/domain/installation/lock.ts';
import type { InstallationSpec } from '../../../../src/domain/installation/release.ts';
import { digestOf } from '../../../../src/domain/text/digest.ts';
import {
  bundleProblems,
  lockedRepositories,
  notIncluded,
  parseManifest,
  specDifferences,
} from '../../../../src/plan/installation/bundle.ts';
import { installationSpec } from '../../../../src/plan/resolve.ts';
import { aConfig } from '../../../support/machine/builders.ts';

const spec: InstallationSpec = installationSpec(aConfig({ comfyui: { repository: 'https://example.com/ComfyUI.git' } }), []);
const sha = (digit: string): string => digit.repeat(64);
const commit = (digit: string): string => digit.repeat(40);
const lock: Lock = {
  schema: 1,
  specDigest: digestOf(spec),
  core: {
    requestDigest: 'core',
    comfyuiVersion: '0.3.50',
    source: {
      kind: 'git',
      url: 'https://example.com/ComfyUI.git',
      branch: 'main',
      commit: commit('1'),
      commitDate: null,
      submodules: [{ path: 'a', url: 'https://example.com/sub.git', commit: commit('2') }],
    },
  },
  packs: [
    {
      name: 'One',
      requestDigest: 'one',
      quarantined: null,
      source: { kind: 'git', url: 'https://example.com/sub.git', branch: null, commit: commit('3'), commitDate: null, submodules: [] },
    },
    {
      name: 'Two',
      requestDigest: 'two',
      quarantined: null,
      source: { kind: 'archive', url: 'https://example.com/two.zip', version: '1', sha256: sha('a') },
    },
    { name: 'Three', requestDigest: 'three', quarantined: null, source: { kind: 'directory', path: '/packs/three', sha256: sha('b') } },
  ],
  python: {
    version: '3.11.7',
    platform: 'linux-x86_64',
    requestDigest: 'python',
    torchBackend: null,
    packages: [
      { name: 'numpy', version: '2.2.0', url: null, hashes: [`sha256:${sha('c')}`], addedBy: null },
      { name: 'comfy-vcs', version: null, url: `git+https://example.com/vcs@${commit('4')}`, hashes: [], addedBy: null },
    ],
    constraints: [],
  },
  models: [{ path: 'vae/x.safetensors', sha256: sha('d'), sizeBytes: 1 }],
};
const manifest: BundleManifest = {
  schema: 1,
  createdBy: '0.1.0',
  createdAt: '2026-11-20T10:00:00.000Z',
  lockDigest: digestOf(lock),
  spec,
  members: [
    { kind: 'lock', name: 'agent.lock.json', sha256: sha('0'), sizeBytes: 1 },
    {
      kind: 'repository',
      name: 'repositories/core.bundle',
      url: 'https://example.com/ComfyUI.git',
      commits: [commit('1')],
      sha256: sha('0'),
      sizeBytes: 1,
    },
    {
      kind: 'repository',
      name: 'repositories/sub.bundle',
      url: 'https://example.com/sub.git',
      commits: [commit('2'), commit('3')],
      sha256: sha('0'),
      sizeBytes: 1,
    },
    {
      kind: 'wheel',
      name: 'wheels/numpy.whl',
      package: 'numpy',
      version: '2.2.0',
      file: 'numpy-2.2.0-py3-none-any.whl',
      built: false,
      sha256: sha('c'),
      sizeBytes: 1,
    },
    {
      kind: 'wheel',
      name: 'wheels/vcs.whl',
      package: 'comfy-vcs',
      version: '0.1',
      file: 'comfy_vcs-0.1-py3-none-any.whl',
      built: true,
      sha256: sha('e'),
      sizeBytes: 1,
    },
    { kind: 'uv', name: 'uv/uv.whl', file: 'uv-1.0-py3-none-any.whl', sha256: sha('0'), sizeBytes: 1 },
    { kind: 'archive', name: 'archives/two.zip', sha256: sha('a'), sizeBytes: 1 },
    { kind: 'model', name: 'models/x', path: 'vae/x.safetensors', sha256: sha('d'), sizeBytes: 1 },
  ],
  notIncluded: [],
};
type Json = { [key: string]: unknown };
const edited = (change: (copy: { members: Json[] } & Json) => void): string => {
  const copy = structuredClone(manifest) as unknown as { members: Json[] } & Json;
  change(copy);
  return JSON.stringify(copy);
};
const member = (index: number, change: Json) => edited(({ members }) => Object.assign(members[index] ?? {}, change));

describe('the manifest of a bundle', () => {
  it('is read as it was written', () => {
    expect(parseManifest(JSON.stringify(manifest))).toEqual(manifest);
  });

  it.each([
    ['no JSON', 'x', /is no JSON/],
    ['another schema', edited((copy) => (copy['schema'] = 2)), /has schema 2; this agent reads schema 1/],
    ['a key that is not known', edited((copy) => (copy['run'] = 'rm')), /is not valid/],
    ['a kind that is not known', member(0, { kind: 'script' }), /is not valid: members\.0/],
    ['a name that escapes', member(0, { name: '../agent.lock.json' }), /is not valid: members\.0\.name/],
    ['a name that is absolute', member(0, { name: '/etc/passwd' }), /is not valid: members\.0\.name/],
    ['a name with a dot directory', member(1, { name: 'repositories/../x' }), /is not valid: members\.1\.name/],
    ['a name that hides', member(1, { name: 'repositories/.x' }), /is not valid: members\.1\.name/],
    ['a name with a line break', member(1, { name: 'a\nb' }), /is not valid: members\.1\.name/],
    ['a wheel that is put elsewhere', member(3, { file: '../x.whl' }), /is not valid: members\.3\.file/],
    ['a wheel that is an option', member(3, { file: '-x.whl' }), /is not valid: members\.3\.file/],
    ['a model that is put elsewhere', member(7, { path: '../../x' }), /is not valid: members\.7\.path/],
    ['a model at an absolute path', member(7, { path: '/etc/x' }), /is not valid: members\.7\.path/],
    ['a digest that is none', member(0, { sha256: 'A' }), /is not valid: members\.0\.sha256/],
    ['a size that is none', member(0, { sizeBytes: -1 }), /is not valid: members\.0\.sizeBytes/],
    ['a commit that is an option', member(1, { commits: ['--upload-pack=x'] }), /is not valid: members\.1\.commits/],
    ['a member twice', member(1, { name: 'agent.lock.json' }), /names agent\.lock\.json twice/],
    ['itself', member(1, { name: 'manifest.json' }), /names manifest\.json twice/],
  ])('with %s is refused', (_what, text, message) => {
    expect(() => parseManifest(text)).toThrow(expect.objectContaining({ code: 'BUNDLE_INVALID', message: expect.stringMatching(message) }));
  });
});

describe('a bundle beside its lock', () => {
  it('is whole', () => {
    expect(bundleProblems(manifest, lock)).toEqual([]);
    expect([...lockedRepositories(lock)]).toEqual([
      ['https://example.com/ComfyUI.git', [commit('1')]],
      ['https://example.com/sub.git', [commit('2'), commit('3')]],
    ]);
  });

  const without = (index: number): string => edited(({ members }) => members.splice(index, 1));
  it.each([
    ['another lock', edited((copy) => (copy['lockDigest'] = sha('f'))), 'agent.lock.json is not the one of the manifest'],
    ['other settings', edited((copy) => ((copy['spec'] as Json)['customScripts'] = false)), 'its settings are not those'],
    ['a repository less', without(1), `it lacks commit ${commit('1')} of https://example.com/ComfyUI.git`],
    [
      'the commit of a submodule less',
      member(2, { commits: [commit('3')] }),
      `it lacks commit ${commit('2')} of https://example.com/sub.git`,
    ],
    [
      'a repository that nobody asked for',
      member(1, { url: 'https://evil.example/x' }),
      'https://evil.example/x, which agent.lock.json does not name',
    ],
    ['a wheel less', without(3), 'it lacks a wheel of numpy'],
    ['a wheel of another version', member(3, { version: '9' }), 'is numpy 9, locked is 2.2.0'],
    ['a wheel that is not a locked file', member(3, { sha256: sha('9') }), 'is not a file that is locked for numpy'],
    ['a wheel that nobody asked for', member(4, { package: 'evil' }), 'is of evil, which agent.lock.json does not name'],
    ['an archive less', without(6), 'it lacks the archive https://example.com/two.zip'],
    ['another archive', member(6, { sha256: sha('9') }), 'names no archive with the digest of archives/two.zip'],
    ['another model', member(7, { sha256: sha('9') }), 'is not the vae/x.safetensors that is locked'],
    ['a model that nobody asked for', member(7, { path: 'vae/y' }), 'is vae/y, which agent.lock.json does not name'],
    ['two locks', edited(({ members }) => members.push({ ...members[0], name: 'other.json' })), 'several members of kind lock'],
  ])('with %s is not', (_what, text, problem) => {
    expect(bundleProblems(parseManifest(text), lock).join('; ')).toContain(problem);
  });

  it('says what is left to the machine', () => {
    const told = notIncluded(lock, { withModels: false, missingModels: [], lfsPacks: ['One'] });
    expect(told.map(({ what }) => what)).toEqual(['Python 3.11.7', 'node pack Three', 'Git LFS files of One', 'model vae/x.safetensors']);
  });
});

describe('a machine beside a bundle', () => {
  const here = (change: Partial<InstallationSpec>): InstallationSpec => ({ ...spec, ...change });
  const pack = {
    name: 'One',
    url: 'https://example.com/sub.git',
    branch: null,
    commit: null,
    recursive: true,
    requirements: true,
    env: {},
    customScript: null,
  };
  it.each([
    ['the same', here({}), []],
    [
      'another branch',
      here({ source: { ...spec.source, branch: 'dev' } }),
      [expect.stringMatching(/^comfyui\.branch: .* in the bundle, dev here$/)],
    ],
    [
      'another torch',
      here({ python: { ...spec.python, torch: 'cu126' } }),
      [expect.stringMatching(/^python\.torch: auto in the bundle, cu126 here$/)],
    ],
    ['a pack more', here({ packs: [pack] }), ['node pack One: asked for here, not in the bundle']],
  ])('that asks for %s', (_what, asked, lines) => {
    expect(specDifferences(lock, spec, asked)).toEqual(lines);
  });

  it('that asks for a pack in another way', () => {
    const bundled = here({ packs: [pack] });
    const made = { ...lock, specDigest: digestOf(bundled) };
    expect(specDifferences(made, bundled, spec)).toEqual(['node pack One: in the bundle, not asked for here']);
    expect(specDifferences(made, bundled, here({ packs: [{ ...pack, requirements: false }] }))).toEqual([
      'node pack One, requirements: true in the bundle, false here',
    ]);
  });
});
