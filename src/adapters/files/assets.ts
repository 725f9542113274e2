import { createHash } from 'node:crypto';
import { existsSync } from 'node:fs';
import { chmod, mkdir, mkdtemp, readFile, rename, rm, stat, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { getAssetKeys, getRawAsset, isSea } from 'node:sea';
import { fileURLToPath } from 'node:url';
import { AgentError } from '../../domain/errors/errors.ts';
import type { Assets } from '../../ports/files.ts';
import { writeFault } from './errors.ts';

/** Places of a file in the repository, by the first part of its name, when the program runs from source. */
const SOURCES: readonly (readonly [prefix: string, directory: string])[] = [
  ['workflows/', ''],
  ['systemd/', ''],
  ['install.sh', 'scripts/'],
  ['swagger-ui', 'node_modules/swagger-ui-dist/'],
  ['', 'assets/'],
];
/** Names inside the single executable; the rest of it is code. */
const INSIDE = 'assets/';
const SIMULATOR = `${INSIDE}simulator/`;

/**
 * Files that ship with the program: inside the single executable, beside the bundle in `assets/`, or in the repository when
 * run from source. What others have to read as files is written to `cache` first.
 */
export function createAssets(cache: string): Assets {
  if (isSea()) return createInsideAssets(cache);
  const here = dirname(fileURLToPath(import.meta.url));
  const bundled = join(here, 'assets');
  const repository = join(here, '../../..');
  const isBundle = existsSync(bundled) && !existsSync(join(here, 'assets.ts'));
  const locate = (name: string): string => {
    if (isBundle) return join(bundled, name);
    const [, directory] = SOURCES.find(([prefix]) => name.startsWith(prefix)) ?? ['', 'assets/'];
    return join(repository, directory, name);
  };
  return {
    text: (name) => readFile(locate(name), 'utf8'),
    bytes: (name) => readFile(locate(name)),
    simulator: async () => (isBundle ? join(bundled, 'simulator') : join(repository, 'simulator')),
  };
}

const inside = (name: string): Uint8Array => {
  try {
    return new Uint8Array(getRawAsset(name));
  } catch (error) {
    throw new AgentError('INTERNAL', `the program does not hold ${name}`, { cause: error });
  }
};

function createInsideAssets(cache: string): Assets {
  return {
    text: async (name) => Buffer.from(inside(`${INSIDE}${name}`)).toString('utf8'),
    // A copy: the executable itself must not be written to.
    bytes: async (name) => inside(`${INSIDE}${name}`).slice(),
    simulator: () => writeOut(SIMULATOR, join(cache, 'simulator')),
  };
}

/** Writes what the executable holds below a name, once for each content, and whole or not at all. @returns the directory */
async function writeOut(prefix: string, parent: string): Promise<string> {
  const names = getAssetKeys().filter((name) => name.startsWith(prefix));
  const digest = createHash('sha256');
  for (const name of names) digest.update(name).update(inside(name));
  const directory = join(parent, digest.digest('hex').slice(0, 12));
  if (await isThere(directory)) return directory;
  try {
    await mkdir(parent, { recursive: true });
    const work = await mkdtemp(`${directory}.`);
    await chmod(work, 0o755);
    for (const name of names) {
      const file = join(work, name.slice(prefix.length));
      await mkdir(dirname(file), { recursive: true });
      await writeFile(file, inside(name));
    }
    await rename(work, directory).catch(async (error: unknown) => {
      await rm(work, { recursive: true, force: true });
      // Another one was sooner.
      if (!(await isThere(directory))) throw error;
    });
  } catch (error) {
    throw writeFault(error, directory);
  }
  return directory;
}

const isThere = (path: string): Promise<boolean> =>
  stat(path).then(
    () => true,
    () => false,
  );
