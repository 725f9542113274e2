import { describe, expect, it } from 'vitest';
import {
  isIndexOption,
  locateRequirements,
  normaliseName,
  normaliseSpecifier,
  parseRequirement,
  parseRequirements,
  redactUrls,
  requirementNames,
} from '../../../../src/domain/installation/requirements.ts';

describe('requirement lines', () => {
  it.each([
    ['six', { kind: 'package', name: 'six', specifier: '', url: null, marker: null }],
    ['Ruamel.YAML==0.18', { kind: 'package', name: 'ruamel-yaml', specifier: '==0.18', url: null, marker: null }],
    ['numpy >= 1.25.0, <2', { kind: 'package', name: 'numpy', specifier: '<2,>=1.25.0', url: null, marker: null }],
    ['numpy (>=1.25)', { kind: 'package', name: 'numpy', specifier: '>=1.25', url: null, marker: null }],
    [
      'uvicorn[standard]~=0.30; python_version < "3.13"',
      { kind: 'package', name: 'uvicorn', specifier: '~=0.30', url: null, marker: 'python_version < "3.13"' },
    ],
    [
      'tiny @ git+https://host/o/tiny.git@main',
      { kind: 'package', name: 'tiny', specifier: '', url: 'git+https://host/o/tiny.git@main', marker: null },
    ],
    [
      'tiny@https://host/tiny-1.0.zip ; sys_platform == "linux"',
      { kind: 'package', name: 'tiny', specifier: '', url: 'https://host/tiny-1.0.zip', marker: 'sys_platform == "linux"' },
    ],
    ['git+https://host/o/Seg_Any.git#egg=Seg_Any', { kind: 'url', name: 'seg-any', url: 'git+https://host/o/Seg_Any.git#egg=Seg_Any' }],
    ['git+https://host/o/x.git', { kind: 'url', name: null, url: 'git+https://host/o/x.git' }],
    [
      'https://host/w/insight_face-0.7.3-cp311-cp311-linux_x86_64.whl',
      { kind: 'url', name: 'insight-face', url: 'https://host/w/insight_face-0.7.3-cp311-cp311-linux_x86_64.whl' },
    ],
    ['-e git+ssh://git@host/o/x.git#egg=x', { kind: 'url', name: 'x', url: 'git+ssh://git@host/o/x.git#egg=x' }],
    ['-r more.txt', { kind: 'include', file: 'more.txt', constraint: false }],
    ['--requirement=more.txt', { kind: 'include', file: 'more.txt', constraint: false }],
    ['-rmore.txt', { kind: 'include', file: 'more.txt', constraint: false }],
    ['-c pins.txt', { kind: 'include', file: 'pins.txt', constraint: true }],
    ['--extra-index-url https://host/simple', { kind: 'other', text: '--extra-index-url https://host/simple' }],
    ['two words here', { kind: 'other', text: 'two words here' }],
    ['six==1.0 --hash=sha256:00', { kind: 'package', name: 'six', specifier: '==1.0', url: null, marker: null }],
  ])('%s', (line, expected) => {
    expect(parseRequirement(line)).toEqual(expected);
  });

  it('drops comments, joins continued lines, keeps a # inside a URL', () => {
    const text = '\uFEFF# top\r\nsix>=1, \\\r\n <2  # why\r\n\r\ngit+https://h/o/a.git#egg=a\n';
    expect(parseRequirements(text)).toEqual([
      { kind: 'package', name: 'six', specifier: '<2,>=1', url: null, marker: null },
      { kind: 'url', name: 'a', url: 'git+https://h/o/a.git#egg=a' },
    ]);
  });

  it('names are normalised and told once', () => {
    expect(requirementNames('Pillow\npillow>=9\n-r x.txt\nhugging_face.hub\ngit+https://h/x.git\n')).toEqual([
      'pillow',
      'hugging-face-hub',
    ]);
    expect(normaliseName('A__b.-c')).toBe('a-b-c');
    expect(normaliseSpecifier('<2 , >=1')).toBe(normaliseSpecifier('>=1,<2'));
  });

  it('masks credentials of URLs anywhere in a text', () => {
    expect(redactUrls('at https://user:pa%40ss@host/simple and https://token@h2/x, git+ssh://git@host/o')).toBe(
      'at https://***@host/simple and https://***@h2/x, git+ssh://git@host/o',
    );
  });
});

describe('places of requirements', () => {
  it('count every line of the file, continued ones by their first', () => {
    expect(
      locateRequirements('# head\n\nsix==1 # why\nfoo \\\n  --hash=sha256:aa \\\n  --hash=sha256:bb\r\n-r more.txt\nlast \\').map(
        ({ line, lineNumber }) => [lineNumber, line],
      ),
    ).toEqual([
      [3, 'six==1'],
      [4, 'foo    --hash=sha256:aa    --hash=sha256:bb'],
      [7, '-r more.txt'],
      [8, 'last'],
    ]);
  });
});

describe('lines that are options', () => {
  it.each([
    ['--extra-index-url https://h/simple', true],
    ['--index-url=https://h', true],
    ['-f wheels', true],
    ['--no-index', true],
    ['--pre', false],
    ['-r index', false],
    ['six', false],
  ])('%s names a place for packages: %s', (line, expected) => {
    expect(isIndexOption(line)).toBe(expected);
  });
});
