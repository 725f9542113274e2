// biome-ignore-all lint/suspicious/noTemplateCurlyInString: ${NAME} is the syntax of the files under test
import { describe, expect, it } from 'vitest';
import { localSource } from '../../../../src/domain/installation/local-source.ts';

describe('what of this machine a requirement names', () => {
  it.each([
    ['.', '.', '', ''],
    ['.[gpu]', '.', '', '[gpu]'],
    ['-e .', '.', '', ''],
    ['--editable=./sub', './sub', '', ''],
    ['./wheels/x-1.0-py3-none-any.whl ; python_version > "3"', './wheels/x-1.0-py3-none-any.whl', '', ' ; python_version > "3"'],
    ['x-1.0.tar.gz', 'x-1.0.tar.gz', '', ''],
    ['/opt/x.zip', '/opt/x.zip', '', ''],
    ['-e /closed/dir', '/closed/dir', '', ''],
    ['file:///closed/x.whl', '/closed/x.whl', '', ''],
    ['FILE:/closed/x.whl', '/closed/x.whl', '', ''],
    ['file:wheels/x.whl', 'wheels/x.whl', '', ''],
    ['x @ file:///closed/x.whl', '/closed/x.whl', 'x @ ', ''],
    ['x@file://localhost/closed/x.whl', '/closed/x.whl', 'x@', ''],
    ['x[a, b] @ file:///closed/x.whl ; python_version > "3"', '/closed/x.whl', 'x[a, b] @ ', ' ; python_version > "3"'],
    ['x @ file:///closed/%2e%2e/x.whl#sha256=ab', '/closed/../x.whl', 'x @ ', '#sha256=ab'],
    ['x @ ./wheels/x.whl', './wheels/x.whl', 'x @ ', ''],
    ['x          @ /closed/x.whl', '/closed/x.whl', 'x          @ ', ''],
    [`${'x'.repeat(300)}@/closed/x.whl`, '/closed/x.whl', `${'x'.repeat(300)}@`, ''],
    ['-e file:///closed', '/closed', '', ''],
    ['x @ git+file:///closed/repo@main#egg=x', '/closed/repo', 'x @ git+', '@main#egg=x'],
    ['-e git+file:///closed/repo', '/closed/repo', 'git+', ''],
  ])('%s: %s', (line, path, before, rest) => {
    expect(localSource(line)).toEqual({ path, before, rest });
  });

  it.each([
    'x @ file://host/closed/x.whl',
    'x @ file:///${HOME}/x.whl',
    'x @ ${HOME}/x.whl',
    'x @ file:///pack/x /../../closed/x.whl',
    'x @ file:///pack/%zz',
    'x @ file:///pack/%00',
    'x @ file:',
    'x @ file:///pack/x.zip#subdirectory=../../closed',
    'git+file:repo',
    'git+/closed/repo',
    '@ file:///closed/x.whl',
    'x @@ file:///closed/x.whl',
    'svn+https://h/x?y=file:///closed',
  ])('%s: nobody can tell where it leads', (line) => {
    expect(localSource(line)).toMatchObject({ path: null });
  });

  it.each([
    'six',
    'six==1.0',
    'a[b]>=1 ; x == "y/z"',
    'git+https://h/o/r',
    'git+ssh://git@h/o/r',
    'https://h/x.whl',
    'https://h/profile:x.whl',
    'a @ https://h/x.whl',
    'a @ git+https://h/o/r@v1',
    '-r a/b.txt',
    '--pre',
    '-e git+https://h/o/r@v1',
  ])('%s: nothing', (line) => {
    expect(localSource(line)).toBeNull();
  });
});
