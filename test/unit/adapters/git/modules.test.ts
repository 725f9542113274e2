import { describe, expect, it } from 'vitest';
import { checkModule, parseModules, submoduleUrl } from '../../../../src/adapters/git/modules.ts';
import { parseGitUrl, rewriteGitUrl } from '../../../../src/domain/installation/git-url.ts';

const entry = { name: 'x', path: 'x', url: 'https://h/x', update: null };

describe('.gitmodules', () => {
  it('is read by name, the last value winning', () => {
    const listing = [
      'submodule.libs/a.path\nlibs/a',
      'submodule.libs/a.url\n../a.git',
      'submodule.b.c.url\nhttps://h/b',
      'core.x\ny',
      'submodule.b.c.url\nhttps://h/c',
      'submodule.b.c.update\n!sh',
      '',
    ];
    expect(parseModules(listing.join('\0'))).toEqual([
      { name: 'libs/a', path: 'libs/a', url: '../a.git', update: null },
      { name: 'b.c', path: null, url: 'https://h/c', update: '!sh' },
    ]);
  });

  it.each([
    ['https://h/o/r.git', '../a.git', 'https://h/o/a.git'],
    ['https://h:8443/o/r/', './a', 'https://h:8443/o/r/a'],
    ['https://h/o/r', '../../p/a', 'https://h/p/a'],
    ['git@h:o/r.git', '../a.git', 'git@h:o/a.git'],
    ['git@h:r.git', '../a.git', 'git@h:a.git'],
    ['ssh://git@h:22/o/r.git', '../a.git', 'ssh://git@h:22/o/a.git'],
    ['file:///srv/o/r', '../a', 'file:///srv/o/a'],
    ['/srv/o/r', '../../a', '/srv/a'],
    ['https://h/o/r', 'https://other/a.git', 'https://other/a.git'],
    ['/srv/r', '/srv/a', '/srv/a'],
  ])('%s and %s give %s', (parent, written, url) => {
    expect(submoduleUrl(parseGitUrl(parent), 'x', written).url).toBe(url);
  });

  it.each([
    ['https://h/o/r', '/etc'],
    ['https://h/o/r', 'file:///etc'],
    ['git@h:o/r', '/etc'],
    ['https://h/o/r', '../../../x'],
    ['https://h/o/r', '../..'],
    ['https://h/o/r', '-oProxyCommand=id'],
    ['https://h/o/r', 'ext::sh -c id'],
    ['https://h/o/r', 'ssh://-oProxyCommand=id/x'],
    ['/srv/r', 'fd::17'],
  ])('of %s refuses %s', (parent, written) => {
    expect(() => submoduleUrl(parseGitUrl(parent), 'x', written)).toThrow(expect.objectContaining({ code: 'SOURCE_REFUSED' }));
  });

  it('gives credentials to the same host and port only', () => {
    const parent = parseGitUrl('https://robot:secret@h/o/r');
    expect(submoduleUrl(parent, 'x', '../a').credentials).toEqual({ user: 'robot', password: 'secret' });
    expect(submoduleUrl(parent, 'x', 'https://h/b').credentials).not.toBeNull();
    for (const other of ['https://h:444/b', 'http://h/b', 'https://other/b', 'git@h:b'])
      expect(submoduleUrl(parent, 'x', other).credentials).toBeNull();
  });

  it.each([
    ['x', { ...entry, name: '../x' }],
    ['x', { ...entry, name: 'a\\..\\x' }],
    ['x', { ...entry, name: '-x' }],
    ['x', { ...entry, name: '' }],
    ['a/../x', entry],
    ['-x', entry],
    ['a/.GIT/x', entry],
    ['x', { ...entry, update: '!touch y' }],
  ])('refuses path %j of %j', (path, module) => {
    expect(() => checkModule(parseGitUrl('https://h/r'), path, module)).toThrow(expect.objectContaining({ code: 'SOURCE_REFUSED' }));
    expect(() => checkModule(parseGitUrl('https://h/r'), 'a/x', entry)).not.toThrow();
  });
});

describe('gitMirror', () => {
  const prefixes = {
    'https://github.com/': 'https://mirror.example.org/github/',
    'https://github.com/special': 'file:///srv/special',
    'git@github.com:': 'https://robot:token@mirror.example.org/github/',
    'https://same.org/a/': 'https://same.org/b/',
  };
  it.each([
    ['https://github.com/o/r.git', 'https://mirror.example.org/github/o/r.git'],
    ['https://github.com/special/r', 'file:///srv/special/r'],
    ['https://github.com/specialist/r', 'https://mirror.example.org/github/specialist/r'],
    ['git@github.com:o/r', 'https://mirror.example.org/github/o/r'],
  ])('%s becomes %s', (named, spoken) => {
    expect(rewriteGitUrl(parseGitUrl(named), prefixes)).toMatchObject({ url: spoken, insteadOf: named });
  });
  it('leaves the rest alone, and another host that begins alike', () => {
    for (const url of ['https://gitlab.com/o/r', 'https://github.community/o/r']) {
      const remote = parseGitUrl(url);
      expect(rewriteGitUrl(remote, { 'https://github.com': 'https://m/', ...prefixes })).toBe(remote);
    }
  });
  it('takes no credentials to another host, and uses those of the mirror', () => {
    expect(rewriteGitUrl(parseGitUrl('https://u:secret@github.com/o/r'), prefixes).credentials).toBeNull();
    expect(rewriteGitUrl(parseGitUrl('https://u:secret@same.org/a/r'), prefixes).credentials?.password).toBe('secret');
    expect(rewriteGitUrl(parseGitUrl('git@github.com:o/r'), prefixes).credentials?.password).toBe('token');
  });
});
