import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { parseGitUrl, redactGitText, redactUrl } from '../../../../src/domain/installation/git-url.ts';

describe('parseGitUrl', () => {
  it.each([
    ['https://github.com/o/r.git', 'http', 'https://github.com/o/r.git', null],
    ['https://user:pa%20ss@host.org:8443/o/r', 'http', 'https://host.org:8443/o/r', { user: 'user', password: 'pa ss' }],
    ['https://ghp_token@github.com/o/r', 'http', 'https://github.com/o/r', { user: 'ghp_token', password: '' }],
    ['https://a:b@c:d@host.org/o/r@v', 'http', 'https://host.org/o/r@v', { user: 'a', password: 'b@c:d' }],
    ['ssh://git@host.org:22/o/r', 'ssh', 'ssh://git@host.org:22/o/r', null],
    ['ssh://git:secret@host.org/o/r', 'ssh', 'ssh://git@host.org/o/r', null],
    ['git@github.com:o/r.git', 'ssh', 'git@github.com:o/r.git', null],
    ['git://host.org/r', 'git', 'git://host.org/r', null],
    ['file:///srv/r', 'local', 'file:///srv/r', null],
    ['/srv/r.git', 'local', '/srv/r.git', null],
    ['../r', 'local', '../r', null],
  ])('reads %s', (text, transport, url, credentials) => {
    expect(parseGitUrl(text)).toMatchObject({ transport, url, credentials });
  });

  it('sends credentials to their host and port only', () => {
    expect(parseGitUrl('https://u:p@host.org:8443/o/r').scope).toBe('https://host.org:8443/');
    expect(parseGitUrl('https://host.org/o/r')).toMatchObject({ credentials: null });
  });

  it.each([
    '',
    'r',
    'ext::sh -c id',
    'fd::17',
    '--upload-pack=x',
    '-o:x',
    'ssh://-oProxyCommand=x/r',
    'javascript://x',
    'one\ntwo',
    'https://',
  ])('refuses %j', (text) => {
    expect(() => parseGitUrl(text)).toThrowError(expect.objectContaining({ code: 'REPOSITORY_NOT_FOUND' }));
  });

  it('never shows a password, whatever it is made of', () => {
    fc.assert(
      fc.property(fc.stringMatching(/^[A-Za-z0-9!$&'()*+,;=@:_~.-]{8,20}$/), (password) => {
        const url = `https://user:${password}@host.org/o/r`;
        expect(redactUrl(url)).toBe('https://host.org/o/r');
        expect(parseGitUrl(url).url).toBe('https://host.org/o/r');
      }),
    );
  });
});

describe('redaction', () => {
  it('keeps the user of SSH and masks the values of a query', () => {
    expect(redactUrl('ssh://git:x@host/r')).toBe('ssh://git@host/r');
    expect(redactUrl('git@github.com:o/r.git')).toBe('git@github.com:o/r.git');
    expect(redactUrl('https://host/r?access_token=abc&ref=x')).toBe('https://host/r?access_token=***&ref=***');
  });
  it('masks within a longer text', () => {
    const text = "fatal: unable to access 'https://u:tok@host/r/': and t0p-secret, ssh://git@host/r";
    expect(redactGitText(text, ['t0p-secret', ''])).toBe("fatal: unable to access 'https://***@host/r/': and ***, ssh://git@host/r");
  });
});
