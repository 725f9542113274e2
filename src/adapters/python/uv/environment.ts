/** The whole environment of uv and pip: nothing is inherited that is not named here. */
import type { LocalWheels, PythonIndexes } from '../../../ports/python.ts';

type Environment = Readonly<Record<string, string>>;

/** A shell's basics, certificates, proxies, and what building a CUDA extension from source reads. */
const INHERITED =
  /^(?:PATH|HOME|USER|LOGNAME|LANG|LC_ALL|LC_CTYPE|TMPDIR|SSL_CERT_FILE|SSL_CERT_DIR|REQUESTS_CA_BUNDLE|CURL_CA_BUNDLE|GIT_SSL_CAINFO|SSH_AUTH_SOCK|NETRC|PYENV_ROOT|PYENV_VERSION|LD_LIBRARY_PATH|CC|CXX|CPATH|CFLAGS|CXXFLAGS|LDFLAGS|CUDA_HOME|CUDA_PATH|TORCH_CUDA_ARCH_LIST|FORCE_CUDA|MAX_JOBS|(?:https?|all|no)_proxy|(?:HTTPS?|ALL|NO)_PROXY)$/;

/** What uv knows about where packages come from and how to reach it; nothing that changes what is resolved. */
const UV_SETTINGS =
  /^UV_(?:INDEX_\w+_(?:USERNAME|PASSWORD)|FIND_LINKS|KEYRING_PROVIDER|INSECURE_HOST|NATIVE_TLS|SYSTEM_CERTS|OFFLINE|LINK_MODE|HTTP_\w+|REQUEST_TIMEOUT|CONCURRENT_\w+|PYTHON_INSTALL_(?:DIR|MIRROR)|TORCH_BACKEND_\w+)$/;

/** uv lets an index be written name=URL. */
const NAME_OF_INDEX = /^[\w-]+=(?=[a-z]+:)/;

const hasCredentials = (url: string): boolean => /^[a-z][a-z0-9+.-]*:\/\/[^/@]+@/i.test(url);

const named = (environment: Environment, names: RegExp): Record<string, string> =>
  Object.fromEntries(Object.entries(environment).filter(([name]) => names.test(name)));

export interface UvEnvironmentOptions {
  /** The agent's environment. */
  readonly environment: Environment;
  readonly indexes: Pick<PythonIndexes, 'findLinks'>;
  /** Credentials of the indexes: never as arguments nor in the file, which are easily read. */
  readonly credentials: Environment;
  /** uv.toml with the indexes. */
  readonly configurationFile: string;
  readonly cacheDirectory: string;
  readonly allowPythonDownloads: boolean;
}

export const uvEnvironment = ({
  environment,
  indexes,
  credentials,
  configurationFile,
  cacheDirectory,
  allowPythonDownloads,
}: UvEnvironmentOptions): Record<string, string> => ({
  GIT_SSH_COMMAND: 'ssh -oBatchMode=yes',
  ...named(environment, INHERITED),
  ...named(environment, UV_SETTINGS),
  ...credentials,
  ...(indexes.findLinks.some(hasCredentials) ? { UV_FIND_LINKS: indexes.findLinks.join(',') } : {}),
  UV_CACHE_DIR: cacheDirectory,
  // In place of any that lies on the machine.
  UV_CONFIG_FILE: configurationFile,
  UV_PYTHON_DOWNLOADS: allowPythonDownloads ? 'automatic' : 'never',
  GIT_TERMINAL_PROMPT: '0',
  PYTHONUNBUFFERED: '1',
  NO_COLOR: '1',
});

/** Arguments beside the environment: directories may hold commas, which the variable cannot. */
export const findLinksArguments = ({ findLinks }: PythonIndexes): string[] =>
  findLinks.some(hasCredentials) ? [] : findLinks.flatMap((place) => ['--find-links', place]);

/** Where packages come from: the indexes, or nothing but the wheels of a bundle. */
export const sourceArguments = (
  request: PythonIndexes & { readonly wheels?: LocalWheels | null },
  torchBackend: string | null,
): string[] => {
  const { wheels } = request;
  if (wheels !== null && wheels !== undefined) return ['--offline', '--no-index', '--find-links', wheels.directory];
  return [...(torchBackend === null ? [] : ['--torch-backend', torchBackend]), ...findLinksArguments(request)];
};

/** Environment of a plain interpreter: its basics and nothing that changes what it imports. */
export const pythonEnvironment = (environment: Environment): Record<string, string> => ({
  ...named(environment, INHERITED),
  PYTHONDONTWRITEBYTECODE: '1',
});

/** pip keeps its own configuration (mirrors, certificates, keyring); what the agent is configured with wins. */
export const pipEnvironment = (
  environment: Environment,
  { indexUrl, extraIndexUrls, findLinks }: PythonIndexes,
): Record<string, string> => ({
  ...pythonEnvironment(environment),
  ...(environment['UV_DEFAULT_INDEX'] === undefined ? {} : { PIP_INDEX_URL: environment['UV_DEFAULT_INDEX'].replace(NAME_OF_INDEX, '') }),
  ...named(environment, /^PIP_/),
  ...(indexUrl === null ? {} : { PIP_INDEX_URL: indexUrl }),
  ...(extraIndexUrls.length === 0 ? {} : { PIP_EXTRA_INDEX_URL: extraIndexUrls.join(' ') }),
  ...(findLinks.length === 0 ? {} : { PIP_FIND_LINKS: findLinks.join(' ') }),
  PIP_NO_INPUT: '1',
  PIP_DISABLE_PIP_VERSION_CHECK: '1',
});

/** Indexes to ask for uv itself, the one that would serve packages first. */
export function bootstrapIndexes(environment: Environment, indexes: PythonIndexes, fallbackIndex: string | null): string[] {
  const first =
    indexes.indexUrl ??
    environment['UV_DEFAULT_INDEX'] ??
    environment['UV_INDEX_URL'] ??
    environment['PIP_INDEX_URL'] ??
    fallbackIndex ??
    'https://pypi.org/simple';
  return [first, ...indexes.extraIndexUrls].map((index) => index.replace(NAME_OF_INDEX, '').replace(/(?<!\/)\/+$/, ''));
}
