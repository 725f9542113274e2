import { describe, expect, it } from 'vitest';
import { bootstrapIndexes, findLinksArguments, uvEnvironment } from '../../../../../src/adapters/python/uv/environment.ts';
import { uvIndexes } from '../../../../../src/adapters/python/uv/indexes.ts';
import { indexPageLinks } from '../../../../../src/adapters/python/uv/wheel.ts';
import { redirectAllowed } from '../../../../../src/adapters/sources/download.ts';

const none = { indexUrl: null, extraIndexUrls: [], findLinks: [] };
const build = (
  environment: Record<string, string>,
  indexes = none as { indexUrl: string | null; extraIndexUrls: string[]; findLinks: string[] },
) =>
  uvEnvironment({
    environment,
    indexes,
    credentials: { UV_INDEX_INDEX_1_PASSWORD: 'hidden' },
    configurationFile: '/c/uv.toml',
    cacheDirectory: '/c',
    allowPythonDownloads: false,
  });

describe('environment of uv', () => {
  it('passes what reaches an index, and no secret of the agent', () => {
    const environment = build({
      PATH: '/bin',
      AGENT_TOKEN: 's',
      CUT_PK_1: 's',
      AWS_SECRET_ACCESS_KEY: 's',
      https_proxy: 'p',
      UV_INDEX_OWN_PASSWORD: 'pw',
      UV_PRERELEASE: 'allow',
      UV_DEFAULT_INDEX: 'https://u:pw@h/simple',
      UV_OVERRIDE: 'x',
      PYTHONPATH: 'x',
      VIRTUAL_ENV: 'x',
    });
    expect(environment).toMatchObject({
      PATH: '/bin',
      https_proxy: 'p',
      UV_INDEX_OWN_PASSWORD: 'pw',
      UV_INDEX_INDEX_1_PASSWORD: 'hidden',
      UV_CACHE_DIR: '/c',
      UV_CONFIG_FILE: '/c/uv.toml',
      UV_PYTHON_DOWNLOADS: 'never',
    });
    for (const name of [
      'AGENT_TOKEN',
      'CUT_PK_1',
      'AWS_SECRET_ACCESS_KEY',
      'UV_PRERELEASE',
      'UV_DEFAULT_INDEX',
      'UV_OVERRIDE',
      'PYTHONPATH',
      'VIRTUAL_ENV',
    ])
      expect(environment).not.toHaveProperty(name);
  });

  it.each([
    ['configuration first', 'https://a/s', { UV_DEFAULT_INDEX: 'https://b/s' }, 'https://p/s', 'https://a/s'],
    ['then the environment', null, { UV_DEFAULT_INDEX: 'https://b/s' }, 'https://p/s', 'https://b/s'],
    ['its older name', null, { UV_INDEX_URL: 'https://c/s' }, 'https://p/s', 'https://c/s'],
    ['then pip', null, {}, 'https://p/s', 'https://p/s'],
    ['else PyPI', null, {}, null, 'https://pypi.org/simple'],
  ])('index: %s', (_, indexUrl, environment, fallbackIndex, expected) => {
    const indexes = { ...none, indexUrl };
    const { configuration, credentials } = uvIndexes({ environment: environment as Record<string, string>, indexes, fallbackIndex });
    expect(configuration).toBe(
      `[[index]]\nname = "index-1"\nurl = "${expected}"\ndefault = true\ncache-control = { api = "max-age=600", files = "max-age=365000000, immutable" }\n`,
    );
    expect(credentials).toEqual({});
    expect(bootstrapIndexes(environment as Record<string, string>, indexes, fallbackIndex)[0]).toBe(expected);
  });

  it('further indexes come first, by their own names, and no credentials stand in the file', () => {
    const { configuration, credentials } = uvIndexes({
      environment: {
        UV_INDEX: 'https://not/this',
        UV_EXTRA_INDEX_URL: ' https://t%40ken@b/s  https://c/"s ',
        UV_DEFAULT_INDEX: 'https://me:p%3Aw%@d/s',
      },
      indexes: { ...none, extraIndexUrls: ['own.one=https://u:pw@a/s'] },
      fallbackIndex: null,
    });
    expect(configuration.match(/^(?:name|url|default) = .*$/gm)).toEqual([
      'name = "own.one"',
      'url = "https://a/s"',
      'name = "index-2"',
      'url = "https://b/s"',
      'name = "index-3"',
      'url = "https://c/\\"s"',
      'name = "index-4"',
      'url = "https://d/s"',
      'default = true',
    ]);
    expect(credentials).toEqual({
      UV_INDEX_OWN_ONE_USERNAME: 'u',
      UV_INDEX_OWN_ONE_PASSWORD: 'pw',
      UV_INDEX_INDEX_2_USERNAME: 't@ken',
      UV_INDEX_INDEX_4_USERNAME: 'me',
      UV_INDEX_INDEX_4_PASSWORD: 'p%3Aw%',
    });
  });

  it('find-links are arguments, unless one holds credentials', () => {
    expect(findLinksArguments({ ...none, findLinks: ['/w,x', 'https://h/p'] })).toEqual([
      '--find-links',
      '/w,x',
      '--find-links',
      'https://h/p',
    ]);
    const secret = { ...none, findLinks: ['/w', 'https://u:pw@h/p'] };
    expect(findLinksArguments(secret)).toEqual([]);
    expect(build({}, secret)['UV_FIND_LINKS']).toBe('/w,https://u:pw@h/p');
  });
});

describe('fetching uv', () => {
  it('reads index pages in both forms', () => {
    const url = 'https://h/simple/uv/';
    const json = JSON.stringify({ files: [{ filename: 'a.whl', url: '../../f/a.whl#sha256=0' }, { filename: 1 }] });
    expect(indexPageLinks({ text: json, mediaType: 'application/vnd.pypi.simple.v1+json', url })).toEqual([
      { name: 'a.whl', url: 'https://h/f/a.whl' },
    ]);
    const html = `<a href="/f/a%2Bb.whl?x=1&amp;y=2#sha256=0">a</a><A data-x="1" HREF='b.whl'>b</a>`;
    expect(indexPageLinks({ text: html, mediaType: 'text/html', url })).toEqual([
      { name: 'a+b.whl', url: 'https://h/f/a%2Bb.whl?x=1&y=2' },
      { name: 'b.whl', url: 'https://h/simple/uv/b.whl' },
    ]);
  });

  it.each([
    ['https://a/', 'https://b/', true],
    ['http://a/', 'https://b/', true],
    ['http://a/', 'http://b/', true],
    ['https://a/', 'http://b/', false],
    ['http://a/', 'file:///etc/passwd', false],
  ])('redirect %s -> %s: %s', (from, to, expected) => {
    expect(redirectAllowed(new URL(from), new URL(to))).toBe(expected);
  });
});
