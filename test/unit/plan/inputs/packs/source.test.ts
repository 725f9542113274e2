import { describe, expect, it } from 'vitest';
import { readConfigNodes } from '../../../../../src/plan/inputs/config-nodes.ts';
import { PYTHON_ADVISORIES, packAdvisory, registryAdvisory, waiverFor } from '../../../../../src/plan/installation/advisories.ts';
import { KNOWN_BAD } from '../../../../../src/plan/installation/python.ts';
import { describeProblem } from '../../../../../src/plan/text/problem.ts';

const read = (...entries: object[]) =>
  readConfigNodes(JSON.stringify({ custom_nodes: entries }), { path: '/n.json', names: null, strict: true });
const spec = (entry: object) => {
  const result = read({ name: 'P', ...entry });
  if (!result.ok) throw new Error(result.problems.map(describeProblem).join('\n'));
  return { ...result.packs[0], warnings: result.warnings.map(describeProblem) };
};
const problems = (entry: object): string[] => {
  const result = read({ name: 'P', ...entry });
  return result.ok ? [] : result.problems.map(describeProblem);
};
const sha256 = 'A'.repeat(64);
const variable = (name: string): string => `\${${name}}`;

describe('the source of a pack', () => {
  it('git: the shape stays as it was, and lfs is told only when asked for', () => {
    expect(spec({ url: 'https://h/o/r' })).not.toHaveProperty('source');
    expect(spec({ url: 'https://h/o/r', lfs: false })).not.toHaveProperty('lfs');
    expect(spec({ url: 'https://h/o/r', lfs: true })).toMatchObject({ lfs: true });
  });

  it.each([
    [{ archive: 'https://h/p.zip' }, 'https://h/p.zip', { kind: 'archive', url: 'https://h/p.zip', sha256: null }],
    [{ archive: ' https://h/p.zip ', sha256 }, 'https://h/p.zip', { kind: 'archive', url: 'https://h/p.zip', sha256: 'a'.repeat(64) }],
    [{ registry: 'comfyui-x' }, 'registry:comfyui-x', { kind: 'registry', id: 'comfyui-x', version: null }],
    [{ registry: 'comfyui-x', version: '1.2.3' }, 'registry:comfyui-x@1.2.3', { kind: 'registry', id: 'comfyui-x', version: '1.2.3' }],
    [{ directory: '/srv/mine/' }, '/srv/mine', { kind: 'directory', path: '/srv/mine' }],
    [{ directory: './packs//mine' }, 'packs/mine', { kind: 'directory', path: 'packs/mine' }],
  ])('%j', (entry, url, source) => {
    expect(spec(entry)).toMatchObject({ url, source, branch: null, commit: null, recursive: false, warnings: [] });
  });

  it('keeps variables for credentials, which nobody sees', () => {
    const archive = `https://${variable('USER')}:${variable('TOKEN')}@h/p.zip?token=${variable('TOKEN')}`;
    expect(spec({ archive })).toMatchObject({ url: 'https://h/p.zip?token=***', source: { url: archive } });
  });

  it.each([
    [{}, 'it has no url'],
    [{ url: 'https://h/r', archive: 'https://h/p.zip' }, 'it names several sources: url, archive'],
    [{ archive: 'ftp://h/p.zip' }, 'archive: found "ftp://h/p.zip"'],
    [{ archive: 'https://h' }, 'archive: found "https://h"'],
    [{ archive: 'https://u:secret@h/p.zip' }, 'its archive holds a password or key'],
    [{ archive: `https://u:${variable('T')}@h/p.zip` }, 'its archive holds a password or key'],
    [{ archive: 'https://h/p.zip?X-Amz-Signature=abc' }, 'its archive holds a password or key'],
    [{ archive: 'https://h/p.zip', sha256: 'abc' }, 'sha256: found "abc"'],
    [{ archive: 'https://h/p.zip', commit: 'abcdef0' }, 'commit means nothing for a pack from "archive"'],
    [{ archive: 'https://h/p.zip', lfs: true }, 'lfs means nothing for a pack from "archive"'],
    [{ url: 'https://h/r', version: '1.0.0' }, 'version means nothing for a pack from a repository'],
    [{ registry: '../x' }, 'registry: found "../x"'],
    [{ registry: 'x', version: 'latest' }, 'version: found "latest"'],
    [{ registry: 7 }, 'registry: found 7'],
    [{ directory: '../../etc' }, 'directory: found "../../etc"'],
    [{ directory: '/' }, 'directory: found "/"'],
  ])('%j is refused: %s', (entry, expected) => {
    const found = problems(entry);
    expect(found).toHaveLength(1);
    expect(found[0]).toContain(expected);
    expect(found[0]).not.toContain('secret');
  });

  it('warns of http without a digest only', () => {
    expect(spec({ archive: 'http://h/p.zip' }).warnings).toEqual([expect.stringContaining('uses http')]);
    expect(spec({ archive: 'http://h/p.zip', sha256 }).warnings).toEqual([]);
  });
});

describe('advisories', () => {
  const pack = (name: string, url: string) => ({ name, url });
  it.each([
    [pack('ComfyUI_LLMVISION', 'https://example.org/x')],
    [pack('innocent', 'https://github.com/someone/ComfyUI_LLMVision.git')],
    [pack('innocent', 'git@github.com:AppleBotzz/other.git')],
    [{ ...pack('innocent', 'registry:comfyui-llmvision'), source: { kind: 'registry' as const, id: 'comfyui-llmvision', version: null } }],
    [pack('lolMiner', 'https://example.org/x')],
  ])('know %j', (each) => {
    expect(packAdvisory(each)).toMatchObject({ reason: expect.any(String) as string, source: expect.any(String) as string });
  });

  it('leave others alone that are named alike', () => {
    for (const each of [
      pack('ComfyUI-LLM-Vision', 'https://github.com/honest/ComfyUI-LLM-Vision'),
      pack('x', 'https://applebotzz.example.org/honest/x'),
      pack('x', '/srv/x'),
    ])
      expect(packAdvisory(each)).toBeNull();
  });

  it('of the registry: flagged, banned and deleted', () => {
    expect(
      ['active', 'pending', 'unknown', 'flagged', 'banned', 'deleted'].map((status) => registryAdvisory(status, null) !== null),
    ).toEqual([false, false, false, true, true, true]);
    expect(registryAdvisory('flagged', 'miner')?.reason).toBe('its status is flagged (miner)');
  });

  it('are waived by the name of the pack alone', () => {
    const waivers = [{ pack: 'P', reason: 'read it line by line' }];
    expect(waiverFor(waivers, 'P')?.reason).toBe('read it line by line');
    expect(waiverFor(waivers, 'p')).toBeNull();
  });

  it('of Python packages are constraints', () => {
    for (const { constraint } of PYTHON_ADVISORIES) expect(KNOWN_BAD).toContain(constraint);
    expect(KNOWN_BAD.join(' ')).toMatch(/ultralytics!=8\.3\.41,!=8\.3\.42.*litellm!=1\.82\.7,!=1\.82\.8/);
  });
});
