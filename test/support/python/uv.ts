import { mkdir, symlink } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { createFiles } from '../../../src/adapters/files/files.ts';
import { createPythonEnvironments } from '../../../src/adapters/python/python.ts';
import { UV_VERSION } from '../../../src/adapters/python/uv/wheel.ts';
import { createShell } from '../../../src/adapters/shell/shell.ts';
import { asAgentError } from '../../../src/domain/errors/errors.ts';
import type { Logger } from '../../../src/ports/logs.ts';

const silent: Logger = { debug() {}, info() {}, warn() {}, error() {}, child: () => silent };

/**
 * A directory for PATH that holds uv: the machine's own, or the pinned one, fetched once as the agent fetches it.
 * `skipped` says why there is none.
 */
export async function uvOnPath(
  directory: string,
  environment: Readonly<Record<string, string>>,
): Promise<{ readonly path: string } | { readonly skipped: string }> {
  const shell = createShell({ path: environment['PATH'] ?? '/usr/bin:/bin' });
  const present = await shell.which('uv');
  if (present !== null) return { path: dirname(present) };
  const cacheDirectory = join(directory, 'cache');
  const python = createPythonEnvironments({ shell, files: createFiles(), cacheDirectory, environment, timeoutMs: 60_000, log: silent });
  try {
    await python.create(join(directory, 'venv'), { interpreter: 'python3', version: null, needsUv: true });
  } catch (error) {
    return { skipped: `no uv: ${asAgentError(error).message}` };
  }
  const path = join(directory, 'bin');
  await mkdir(path);
  await symlink(join(cacheDirectory, 'uv', UV_VERSION, 'uv'), join(path, 'uv'));
  return { path };
}
