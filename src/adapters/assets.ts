import { existsSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { Assets } from '../ports.ts';

/** Places of a file in the repository, by the first part of its name, when the program runs from source. */
const SOURCES: readonly (readonly [prefix: string, directory: string])[] = [
  ['workflows/', ''],
  ['systemd/', ''],
  ['install.sh', 'scripts/'],
  ['swagger-ui', 'node_modules/swagger-ui-dist/'],
  ['', 'assets/'],
];

/** Files that ship with the program: beside the bundle in `assets/`, or in the repository when run from source. */
export function createAssets(): Assets {
  const here = dirname(fileURLToPath(import.meta.url));
  const bundled = join(here, 'assets');
  const repository = join(here, '../..');
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
