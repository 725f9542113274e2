/** Where uv gets packages, in the form of its configuration file: only there can be said how long answers are kept. */
import type { PythonIndexes } from '../../../ports/python.ts';

type Environment = Readonly<Record<string, string>>;

/**
 * What PyPI itself answers: pages of projects are good for ten minutes, files for ever. Mirrors often say nothing, and uv then
 * fetches every page again for each of the questions of one installation.
 */
const CACHE_CONTROL = '{ api = "max-age=600", files = "max-age=365000000, immutable" }';
const PYPI = 'https://pypi.org/simple';

export interface IndexesOptions {
  /** The agent's environment. */
  readonly environment: Environment;
  readonly indexes: PythonIndexes;
  /** Used when neither configuration nor environment names an index; null: PyPI. */
  readonly fallbackIndex: string | null;
}

export interface UvIndexes {
  /** uv.toml; holds no credentials. */
  readonly configuration: string;
  /** Credentials of the indexes, as variables of uv. */
  readonly credentials: Environment;
}

/** The further indexes first, as uv ranks them; the default one last. */
export function uvIndexes({ environment, indexes, fallbackIndex }: IndexesOptions): UvIndexes {
  const more = indexes.extraIndexUrls.length > 0 ? indexes.extraIndexUrls : words(environment['UV_INDEX']);
  const first = indexes.indexUrl ?? environment['UV_DEFAULT_INDEX'] ?? environment['UV_INDEX_URL'] ?? fallbackIndex ?? PYPI;
  const all = [...more, ...words(environment['UV_EXTRA_INDEX_URL']), first].map(toIndex);
  const tables = all.map(({ name, url }, position) =>
    [
      '[[index]]',
      `name = ${JSON.stringify(name)}`,
      `url = ${JSON.stringify(url)}`,
      ...(position === all.length - 1 ? ['default = true'] : []),
      `cache-control = ${CACHE_CONTROL}`,
    ].join('\n'),
  );
  return { configuration: `${tables.join('\n\n')}\n`, credentials: Object.assign({}, ...all.map(({ credentials }) => credentials)) };
}

interface Index {
  readonly name: string;
  readonly url: string;
  readonly credentials: Environment;
}

/** uv lets an index be written name=URL; one without a name gets one, so that its credentials need not stand in the file. */
function toIndex(written: string, position: number): Index {
  const [, ownName, address = written] = /^([\w.-]+)=([a-z]+:.*)$/i.exec(written) ?? [];
  const name = ownName ?? `index-${position + 1}`;
  const [, scheme, userinfo, rest] = /^([a-z][a-z0-9+.-]*:\/\/)([^/@]+)@(.*)$/i.exec(address) ?? [];
  if (scheme === undefined || userinfo === undefined) return { name, url: address, credentials: {} };
  const separator = userinfo.indexOf(':');
  const [user, password] = separator < 0 ? [userinfo, null] : [userinfo.slice(0, separator), userinfo.slice(separator + 1)];
  const variable = `UV_INDEX_${name.toUpperCase().replaceAll(/[^A-Z0-9]/g, '_')}`;
  return {
    name,
    url: `${scheme}${rest}`,
    credentials: {
      [`${variable}_USERNAME`]: decoded(user),
      ...(password === null ? {} : { [`${variable}_PASSWORD`]: decoded(password) }),
    },
  };
}

/** A percent sign that encodes nothing stays as it is. */
function decoded(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

const words = (list: string | undefined): string[] => (list ?? '').split(/\s+/).filter((word) => word !== '');
