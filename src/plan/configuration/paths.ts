import { posix } from 'node:path';
import type { Config } from '../../domain/configuration/config.ts';

/** Keys that hold a path: relative ones count from the root, so that it does not matter where the agent was started. */
const PATHS = [
  'stateDir',
  'runDir',
  'comfyui.installPath',
  'packs.file',
  'packs.directories',
  'models.path',
  'ssh.keyFile',
  'ssh.knownHostsFile',
  'api.tokenFile',
  'pm2.home',
  'pm2.template',
  'health.canary.workflow',
];
/** Keys that may also hold something else (a URL, a program on PATH): paths are what begins with `./`, `../` or `~/`. */
const PERHAPS_PATHS = [
  'comfyui.repository',
  'comfyui.fallbackRepository',
  'sharedRepository.url',
  'python.interpreter',
  'python.findLinks',
];

export interface PathFault {
  readonly key: string;
  readonly message: string;
}

interface Bases {
  readonly root: string;
  readonly home: string | null;
}

/** The configuration with every path absolute and without `..`. `~/` is the home directory. */
export function withAbsolutePaths(
  config: Config,
  { workingDirectory, home }: { readonly workingDirectory: string | null; readonly home: string | null },
): { readonly config: Config; readonly faults: readonly PathFault[] } {
  const faults: PathFault[] = [];
  const absolute = (key: string, path: string, base: string | null): string => {
    const inHome = path === '~' || path.startsWith('~/');
    if (inHome && home === null) faults.push({ key, message: `${path} cannot be found, because HOME is not set` });
    const plain = inHome && home !== null ? `${home}${path.slice(1)}` : path;
    if (!plain.startsWith('/') && base === null) faults.push({ key, message: `found ${JSON.stringify(path)}; allowed: an absolute path` });
    if (plain.includes('\0')) faults.push({ key, message: 'a path cannot hold a zero byte' });
    return plain.startsWith('/') ? stripped(posix.normalize(plain)) : stripped(posix.join(base ?? '/', plain));
  };
  const root = absolute('root', config.root, workingDirectory);
  if (root === '/') faults.push({ key: 'root', message: 'the root cannot be / itself; choose a directory of its own' });
  const bases: Bases = { root, home };
  const convert = (key: string, value: unknown): unknown => {
    if (Array.isArray(value)) return value.map((item) => convert(key, item));
    if (typeof value !== 'string') return value;
    if (PERHAPS_PATHS.includes(key) && !/^(\.{1,2}|~)\//.test(value)) return value;
    return absolute(key, value, bases.root);
  };
  let changed: Config = { ...config, root };
  for (const key of [...PATHS, ...PERHAPS_PATHS]) changed = replaceAt(changed, key.split('.'), (value) => convert(key, value)) as Config;
  return { config: changed, faults };
}

const stripped = (path: string): string => (path.length > 1 ? path.replace(/(?<!\/)\/+$/, '') : path);

function replaceAt(value: unknown, [first, ...rest]: readonly string[], change: (value: unknown) => unknown): unknown {
  if (first === undefined) return change(value);
  const record = value as Readonly<Record<string, unknown>>;
  return { ...record, [first]: replaceAt(record[first], rest, change) };
}
