import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { PackStatus, Release } from '../../../../src/domain/installation/release.ts';
import { readConfigNodes } from '../../../../src/plan/inputs/config-nodes.ts';
import { exportRelease } from '../../../../src/plan/installation/snapshot-export.ts';
import { readSnapshot } from '../../../../src/plan/installation/snapshot-import.ts';
import { describeProblem } from '../../../../src/plan/text/problem.ts';

const C = (digit: string): string => digit.repeat(40);
const read = (value: unknown) => {
  const result = readSnapshot(typeof value === 'string' ? value : JSON.stringify(value), 's.json');
  if (!result.ok) throw new Error(result.problems.map(describeProblem).join('\n'));
  return result;
};

const manager = {
  comfyui: C('a'),
  git_custom_nodes: {
    'https://github.com/o/ComfyUI-One.git': { hash: C('1'), disabled: false },
    'https://github.com/p/ComfyUI-One': { hash: C('2'), disabled: false },
    'https://github.com/o/Off': { hash: C('3'), disabled: true },
    'git@github.com:o/Two': { hash: '', disabled: false },
    'https://u:secret@github.com/o/Private': { hash: C('4'), disabled: false },
    'ext::sh -c id': { hash: C('5'), disabled: false },
  },
  cnr_custom_nodes: { 'comfyui-kjnodes': '1.1.1', nightly: 'nightly' },
  file_custom_nodes: [{ filename: 'x.py', disabled: false }],
  pips: { 'numpy==2.2.0': '', 'torch==2.7.1': '' },
};

describe('snapshots of ComfyUI-Manager', () => {
  it('become entries of config_nodes.json, and what is missing is told', () => {
    const { format, comfyui, packs, filledIn, leftOut } = read(manager);
    expect({ format, comfyui }).toEqual({
      format: 'manager',
      comfyui: { repository: 'https://github.com/comfyanonymous/ComfyUI.git', commit: C('a') },
    });
    expect(packs).toEqual([
      { name: 'ComfyUI-One', url: 'https://github.com/o/ComfyUI-One.git', commit: C('1'), recursive: true },
      { name: 'p-ComfyUI-One', url: 'https://github.com/p/ComfyUI-One', commit: C('2'), recursive: true },
      { name: 'Two', url: 'git@github.com:o/Two', recursive: true },
      { name: 'comfyui-kjnodes', registry: 'comfyui-kjnodes', version: '1.1.1' },
      { name: 'nightly', registry: 'nightly' },
    ]);
    expect(leftOut).toEqual([
      'x.py: a single file without a source',
      'https://github.com/o/Off: it is disabled',
      expect.stringMatching(/^https:\/\/github\.com\/o\/Private: its url holds a user name or password/),
      expect.stringMatching(/^ext::sh -c id: its url cannot be used/),
    ]);
    expect(filledIn.map((line) => line.split(':')[0])).toEqual([
      'the repository of ComfyUI',
      'submodules',
      'digests of registry archives',
      'versions of Two, nightly',
      'hashes of 2 Python packages',
    ]);
    expect(JSON.stringify({ packs, leftOut, filledIn })).not.toContain('secret');
  });

  it('in YAML with everything below custom_nodes', () => {
    const yaml = `custom_nodes:\n  comfyui: ${C('b')}\n  git_custom_nodes:\n    https://github.com/o/A:\n      hash: ${C('d')}\n      disabled: false\n`;
    expect(read(yaml)).toMatchObject({ comfyui: { commit: C('b') }, packs: [{ name: 'A', commit: C('d') }] });
  });
});

const desktop = {
  version: 1,
  createdAt: '2026-08-01T00:00:00Z',
  trigger: 'manual',
  label: null,
  comfyui: { ref: 'master', commit: C('c'), releaseTag: 'v0.3.50', variant: 'nvidia', baseTag: 'v0.3.50', commitsAhead: 0 },
  customNodes: [
    { type: 'cnr', id: 'comfyui-kjnodes', dirName: 'kjnodes', version: '1.1.1', enabled: true },
    { type: 'git', id: 'One', dirName: 'One', url: 'https://github.com/o/ComfyUI-One', commit: C('1'), enabled: true },
    { type: 'git', id: 'Lost', dirName: 'Lost', enabled: true },
    { type: 'git', id: 'Off', dirName: 'Off', url: 'https://github.com/o/Off', enabled: false },
    { type: 'file', id: 'x.py', dirName: 'x.py', enabled: true },
  ],
  pipPackages: { numpy: '2.2.0' },
  pythonVersion: '3.12.4',
  updateChannel: 'stable',
};

describe('snapshots of Comfy Desktop 2', () => {
  it.each([
    ['bare', desktop],
    ['in an envelope', { type: 'comfyui-desktop-2-snapshot', ...desktop, version: 2 }],
    ['inside an export', { type: 'comfyui-desktop-2-snapshot', version: 1, snapshots: [{ customNodes: [] }, desktop] }],
  ])('%s', (_what, value) => {
    const { format, comfyui, packs, filledIn, leftOut } = read(value);
    expect(format).toBe('desktop');
    expect(comfyui.commit).toBe(C('c'));
    expect(packs).toEqual([
      { name: 'kjnodes', registry: 'comfyui-kjnodes', version: '1.1.1' },
      { name: 'One', url: 'https://github.com/o/ComfyUI-One', commit: C('1'), recursive: true },
    ]);
    expect(leftOut).toEqual([
      'x.py: a single file without a source',
      'Lost: it has neither a URL nor a registry id',
      'Off: it is disabled',
    ]);
    expect(filledIn.at(-1)).toMatch(/^Python 3\.12\.4/);
  });
});

describe('any snapshot', () => {
  it.each(['{}', '[]', 'null', '"x"', '{"packs":1}', '{'])('%s is refused', (text) => {
    expect(readSnapshot(text, 's.json').ok).toBe(false);
  });

  it('gives entries that config_nodes.json takes, whatever it holds', () => {
    const key = fc.oneof(fc.string(), fc.webUrl(), fc.constantFrom('../x', '.git', '-x', 'a/b', 'A', 'https://h/o/.x', 'https://h/-x.git'));
    const facts = fc.record({ hash: fc.oneof(fc.string(), fc.constant(C('1'))), disabled: fc.boolean() }, { requiredKeys: [] });
    const node = fc.record(
      { type: fc.constantFrom('git', 'cnr', 'file'), id: key, dirName: key, url: key, version: fc.string(), commit: fc.string() },
      { requiredKeys: [] },
    );
    const any = fc.oneof(
      fc.record({
        git_custom_nodes: fc.dictionary(key, fc.oneof(facts, fc.jsonValue())),
        cnr_custom_nodes: fc.dictionary(key, fc.string()),
      }),
      fc.record({ customNodes: fc.array(fc.oneof(node, fc.jsonValue())), comfyui: fc.jsonValue() }),
    );
    fc.assert(
      fc.property(any, (value) => {
        const result = readSnapshot(JSON.stringify(value), 's.json');
        if (!result.ok) return;
        const nodes = readConfigNodes(JSON.stringify({ custom_nodes: result.packs }), { path: 'n.json', names: null, strict: true });
        expect(nodes.ok ? [] : nodes.problems.map(describeProblem)).toEqual([]);
      }),
    );
  });
});

describe('export', () => {
  const status = (name: string, change: Partial<PackStatus>): PackStatus => ({
    name,
    state: 'loaded',
    url: `https://github.com/o/${name}`,
    commit: C('1'),
    source: null,
    error: null,
    quarantined: false,
    warnings: [],
    generated: [],
    altered: [],
    ...change,
  });
  const sha256 = 'f'.repeat(64);
  const release = {
    id: 'r1',
    source: { repository: 'https://h/ComfyUI', branch: 'master', commit: C('a'), fallback: false, fallbackReason: null },
    comfyuiVersion: '0.3.50',
    pythonVersion: '3.12.4',
    packages: { numpy: '2.2.0' },
    spec: { packs: [{ name: 'R', source: { kind: 'registry', id: 'comfyui-r', version: null } }] },
    packs: [
      status('One', {}),
      status('R', { commit: null, source: { kind: 'archive', url: 'https://h/r.zip', version: '1.2.3', sha256 } }),
      status('A', { commit: null, source: { kind: 'archive', url: 'https://h/a.zip', version: null, sha256 } }),
      status('D', { commit: null, source: { kind: 'directory', path: '/d', sha256 } }),
      status('F', { state: 'failed' }),
    ],
  } as unknown as Release;

  it.each(['manager', 'desktop'] as const)('%s: what is written is read again as it was', (format) => {
    const { snapshot, leftOut } = exportRelease(release, format, '2026-11-21T08:00:00.000Z');
    expect(read(snapshot)).toMatchObject({
      format,
      comfyui: { commit: C('a') },
      packs: [
        { name: 'One', url: 'https://github.com/o/One', commit: C('1') },
        { name: format === 'manager' ? 'comfyui-r' : 'R', registry: 'comfyui-r', version: '1.2.3' },
      ],
    });
    expect(leftOut.map((line) => line.split(':')[0])).toEqual(['A', 'D', 'F', expect.stringContaining('the repository of ComfyUI')]);
  });

  it('has the shape that others write', () => {
    expect(exportRelease(release, 'manager', '').snapshot).toEqual({
      comfyui: C('a'),
      git_custom_nodes: { 'https://github.com/o/One': { hash: C('1'), disabled: false } },
      cnr_custom_nodes: { 'comfyui-r': '1.2.3' },
      file_custom_nodes: [],
      pips: { 'numpy==2.2.0': '' },
    });
  });
});
