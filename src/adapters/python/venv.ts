/** Interpreters and virtual environments without uv, and what lies in an environment. */
import { z } from 'zod';
import { AgentError, isAgentError } from '../../domain/errors/errors.ts';
import { INPUT_LIMITS } from '../../domain/files/foreign.ts';
import type { LockedPackage } from '../../domain/installation/lock.ts';
import { normaliseName, redactUrls } from '../../domain/installation/requirements.ts';
import type { Files } from '../../ports/files.ts';
import type { Shell } from '../../ports/shell.ts';
import { fullReason } from '../files/disk-full.ts';
import { pythonEnvironment } from './uv/environment.ts';

/** ComfyUI 0.3 and the simulator need it. */
const OLDEST_PYTHON = '3.9';
const SHORT_MS = 30_000;

export interface Interpreter {
  /** "3.11.7". */
  readonly version: string;
  /** The real program: a version manager's shim depends on the working directory. */
  readonly executable: string;
}

interface Context {
  readonly shell: Shell;
  readonly files: Files;
  readonly environment: Readonly<Record<string, string>>;
}

const PROBE = "import sys; print('%d.%d.%d' % tuple(sys.version_info[:3])); print(sys.executable)";

/** null: there is no such program, or it is no Python. Never rejects but for an interruption. */
export async function probeInterpreter(
  { shell, environment }: Context,
  interpreter: string,
  signal?: AbortSignal,
): Promise<Interpreter | null> {
  const file = interpreter.includes('/') ? interpreter : await shell.which(interpreter);
  if (file === null) return null;
  try {
    const result = await shell.run(file, ['-E', '-S', '-c', PROBE], {
      environment: pythonEnvironment(environment),
      timeoutMs: SHORT_MS,
      ...(signal === undefined ? {} : { signal }),
    });
    const [version, executable] = result.stdout.trim().split(/\r?\n/);
    if (result.exitCode !== 0 || version === undefined || !/^\d+\.\d+\.\d+$/.test(version)) return null;
    return { version, executable: executable?.startsWith('/') ? executable : file };
  } catch (error) {
    if (signal?.aborted || (isAgentError(error) && error.code === 'INTERRUPTED'))
      throw new AgentError('INTERRUPTED', 'looking for a Python was interrupted');
    return null;
  }
}

/** @throws AgentError PYTHON_MISSING when it is older than ComfyUI runs on */
export function requireSupported(interpreter: string, found: Interpreter | null, tried: readonly string[] = [interpreter]): Interpreter {
  if (found === null) throw new AgentError('PYTHON_MISSING', `no usable python was found; tried ${tried.join(', ')}`);
  const [major = 0, minor = 0] = found.version.split('.').map(Number);
  const [oldestMajor = 0, oldestMinor = 0] = OLDEST_PYTHON.split('.').map(Number);
  if (major < oldestMajor || (major === oldestMajor && minor < oldestMinor)) {
    throw new AgentError('PYTHON_MISSING', `${interpreter} is Python ${found.version}; ${OLDEST_PYTHON} or newer is needed`);
  }
  return found;
}

/** `python -m venv` needs no ensurepip this way; where even that module was split off, the few files are made by hand. */
export async function createPlainEnvironment(
  context: Context,
  directory: string,
  found: Interpreter,
  signal?: AbortSignal,
): Promise<string> {
  const { shell, files, environment } = context;
  const python = `${directory}/bin/python`;
  const options = { environment: pythonEnvironment(environment), timeoutMs: SHORT_MS, ...(signal === undefined ? {} : { signal }) };
  const result = await shell
    .run(found.executable, ['-m', 'venv', '--without-pip', '--symlinks', '--clear', directory], options)
    .catch((error: unknown) => {
      if (signal?.aborted) return null;
      throw error;
    });
  if (signal?.aborted || result === null) throw new AgentError('INTERRUPTED', 'making the Python environment was interrupted');
  if (result.exitCode === 0 && (await files.exists(python))) return python;
  if (/No space left on device|Disk quota exceeded/.test(result.tail))
    throw new AgentError('DISK_FULL', `${directory} could not be made: ${fullReason(directory)}`);
  return createByHand(context, directory, found);
}

/** What PEP 405 asks for: pyvenv.cfg, the interpreter's link, and a place for packages. */
export async function createByHand({ files, shell, environment }: Context, directory: string, found: Interpreter): Promise<string> {
  const minor = found.version.split('.').slice(0, 2).join('.');
  const home = found.executable.slice(0, found.executable.lastIndexOf('/'));
  const python = `${directory}/bin/python`;
  await files.remove(directory);
  await files.ensureDirectory(`${directory}/bin`);
  await files.ensureDirectory(`${directory}/lib/python${minor}/site-packages`);
  await files.writeText(
    `${directory}/pyvenv.cfg`,
    `home = ${home}\ninclude-system-site-packages = false\nversion = ${found.version}\nexecutable = ${found.executable}\n`,
  );
  await files.link(found.executable, python);
  for (const name of ['python3', `python${minor}`]) await files.link('python', `${directory}/bin/${name}`);
  const proof = await shell.run(python, ['-c', 'import sys; sys.exit(sys.prefix == sys.base_prefix)'], {
    environment: pythonEnvironment(environment),
    timeoutMs: SHORT_MS,
  });
  if (proof.exitCode !== 0)
    throw new AgentError('ENVIRONMENT_FAILED', `${found.executable} cannot make a virtual environment: ${proof.tail.trim().slice(-300)}`);
  return python;
}

interface Metadata {
  readonly name: string;
  readonly version: string;
  readonly directory: string;
}

/** By the names of the `.dist-info` and `.egg-info` entries: no Python is started. */
async function metadataOf(context: Context, python: string): Promise<Metadata[]> {
  const found: Metadata[] = [];
  for (const directory of await packageDirectories(context, python)) {
    for (const entry of await context.files.list(directory)) {
      const match = /^([^~][^-]*)-([^-]+?)(?:-py[\d.]+(?:-[\w.-]+)?)?\.(?:dist|egg)-info$/.exec(entry);
      if (match !== null) found.push({ name: normaliseName(match[1] ?? ''), version: match[2] ?? '', directory: `${directory}/${entry}` });
    }
  }
  return found.sort((a, b) => (a.name < b.name ? -1 : 1));
}

/** name -> version. */
export const installedPackages = async (context: Context, python: string): Promise<Record<string, string>> =>
  Object.fromEntries((await metadataOf(context, python)).map(({ name, version }) => [name, version]));

/** What direct_url.json (PEP 610) tells; a package of an index leaves no more than its version. */
const DirectUrl = z.object({
  url: z.string(),
  vcs_info: z.object({ vcs: z.string(), commit_id: z.string() }).optional(),
  archive_info: z.object({ hash: z.string().optional(), hashes: z.record(z.string(), z.string()).optional() }).optional(),
  subdirectory: z.string().optional(),
});

/** Where an installed package came from; null when it is not there. */
export async function installedOrigin(context: Context, python: string, name: string): Promise<LockedPackage | null> {
  const metadata = (await metadataOf(context, python)).find((each) => each.name === normaliseName(name));
  if (metadata === undefined) return null;
  const { version, directory } = metadata;
  const plain: LockedPackage = { name: metadata.name, version, url: null, hashes: [], addedBy: null };
  const direct = parseDirectUrl(
    await context.files
      // What is not as pip writes it tells nothing.
      .readForeign(`${directory}/direct_url.json`, { within: directory, maxBytes: INPUT_LIMITS.source })
      .catch(() => null),
  );
  if (direct === null) return plain;
  const url = redactUrls(direct.url);
  const fragment = direct.subdirectory === undefined ? '' : `#subdirectory=${direct.subdirectory}`;
  if (direct.vcs_info !== undefined)
    return { ...plain, version: null, url: `${direct.vcs_info.vcs}+${url}@${direct.vcs_info.commit_id}${fragment}` };
  const sha256 = direct.archive_info?.hashes?.['sha256'] ?? /^sha256=(.+)$/.exec(direct.archive_info?.hash ?? '')?.[1];
  return { ...plain, version: null, url: url + fragment, hashes: sha256 === undefined ? [] : [`sha256:${sha256}`] };
}

function parseDirectUrl(text: string | null): z.infer<typeof DirectUrl> | null {
  try {
    return text === null ? null : DirectUrl.parse(JSON.parse(text));
  } catch {
    return null;
  }
}

async function packageDirectories({ files, shell, environment }: Context, python: string): Promise<string[]> {
  const root = python.replace(/\/bin\/[^/]+$/, '');
  if (await files.exists(`${root}/pyvenv.cfg`)) {
    const libraries = await files.list(`${root}/lib`);
    return libraries.filter((name) => /^(?:python|pypy)3\.\d+t?$/.test(name)).map((name) => `${root}/lib/${name}/site-packages`);
  }
  const code = "import sysconfig; print('\\n'.join(sorted({sysconfig.get_path('purelib'), sysconfig.get_path('platlib')})))";
  const result = await shell.run(python, ['-E', '-c', code], { environment: pythonEnvironment(environment), timeoutMs: SHORT_MS });
  if (result.exitCode !== 0) throw new AgentError('PYTHON_MISSING', `${python} does not run: ${result.tail.trim().slice(-300)}`);
  return result.stdout.split('\n').filter((line) => line.startsWith('/'));
}
