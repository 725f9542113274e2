/** What the suites around Python share: the real adapter over a cache of their own, and whether an index can be reached. */
import { execFile } from 'node:child_process';
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { createFiles } from '../../../src/adapters/files/files.ts';
import { createPythonEnvironments, type PythonEnvironmentsOptions } from '../../../src/adapters/python/python.ts';
import { createShell } from '../../../src/adapters/shell/shell.ts';
import { asAgentError } from '../../../src/domain/errors/errors.ts';
import type { Logger } from '../../../src/ports/logs.ts';

export const execute = promisify(execFile);
const silent: Logger = { debug() {}, info() {}, warn() {}, error() {}, child: () => silent };
export const pathOfTests = process.env['PATH'] ?? '/usr/bin:/bin';
const inherited = {
  ...Object.fromEntries(Object.entries(process.env).filter((entry): entry is [string, string] => entry[1] !== undefined)),
  // A closed index is to be told at once.
  UV_HTTP_RETRIES: '0',
};

/** A loopback address where nothing listens: the fake knows it by its port. */
export const CLOSED_INDEX = 'http://127.0.0.1:1/simple';
/** A resolution that asks for nothing special. */
export const PLAIN = {
  indexUrl: null,
  extraIndexUrls: [],
  findLinks: [],
  constraints: [],
  overrides: [],
  preferences: [],
  torchBackend: null,
};

export interface PythonLab {
  readonly cache: string;
  readonly options: (environment?: Record<string, string>, cacheDirectory?: string) => PythonEnvironmentsOptions;
  /** Why the real uv cannot be tested here, from one resolution through the adapter itself; null when it can. */
  readonly unreachable: () => Promise<string | null>;
  readonly close: () => Promise<void>;
}

export async function createPythonLab(): Promise<PythonLab> {
  const cache = await mkdtemp(join(tmpdir(), 'agent-python-cache-'));
  const options: PythonLab['options'] = (environment = inherited, cacheDirectory = cache) => ({
    shell: createShell({ path: environment['PATH'] ?? pathOfTests }),
    files: createFiles(),
    cacheDirectory,
    environment,
    timeoutMs: 120_000,
    log: silent,
  });
  return {
    cache,
    options,
    unreachable: async () => {
      const python = createPythonEnvironments(options());
      try {
        const environment = await python.create(join(cache, 'probe'), { interpreter: 'python3', version: null, needsUv: true });
        await writeFile(join(cache, 'probe.txt'), 'six==1.16.0\n');
        await python.resolve({
          ...PLAIN,
          python: environment,
          requirements: [{ label: 'probe', file: join(cache, 'probe.txt'), within: cache }],
        });
        return null;
      } catch (error) {
        return asAgentError(error).message;
      }
    },
    close: () => rm(cache, { recursive: true, force: true }),
  };
}

/**
 * A package whose build backend lies in its own tree, so that building it needs no index. `builtWith`: a package that is
 * needed to build it, and whose version becomes its own.
 */
export async function makeRepository(directory: string, builtWith: string | null = null): Promise<string> {
  const version = builtWith === null ? '"0.1"' : `importlib.metadata.version("${builtWith}")`;
  const requires = builtWith === null ? '' : `"${builtWith}"`;
  await mkdir(directory, { recursive: true });
  await writeFile(
    join(directory, 'pyproject.toml'),
    `[build-system]\nrequires = [${requires}]\nbuild-backend = "backend"\nbackend-path = ["."]\n\n[project]\nname = "comfy-vcs"\ndynamic = ["version"]\n`,
  );
  await writeFile(
    join(directory, 'backend.py'),
    `import importlib.metadata, os, zipfile

def build_wheel(directory, config_settings=None, metadata_directory=None):
    version = ${version}
    name = "comfy_vcs-%s-py3-none-any.whl" % version
    info = "comfy_vcs-%s.dist-info" % version
    with zipfile.ZipFile(os.path.join(directory, name), "w") as wheel:
        wheel.writestr("comfy_vcs.py", "")
        wheel.writestr(info + "/METADATA", "Metadata-Version: 2.1\\nName: comfy-vcs\\nVersion: %s\\n" % version)
        wheel.writestr(info + "/WHEEL", "Wheel-Version: 1.0\\nGenerator: test\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n")
        wheel.writestr(info + "/RECORD", "")
    return name
`,
  );
  const git = (...args: string[]) =>
    execute('git', ['-c', 'user.name=test', '-c', 'user.email=test@localhost', ...args], { cwd: directory });
  await git('init', '-q', '.');
  await git('add', '-A');
  await git('commit', '-q', '-m', 'tiny');
  return directory;
}

/** A new commit in a repository of `makeRepository`. */
export async function pushTo(directory: string): Promise<void> {
  await execute('git', ['-c', 'user.name=test', '-c', 'user.email=test@localhost', 'commit', '-q', '--allow-empty', '-m', 'more'], {
    cwd: directory,
  });
}
