import { mkdir, readFile, readlink, writeFile } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { Release } from '../../../../src/domain/installation/release.ts';
import type { ComfyuiProgram } from '../process.ts';
import { LIKENESS_PACK } from './jobs.ts';

/** A ComfyUI, and the simulator of the same version. */
export type Side = 'real' | 'simulated';

export const both = async <T>(work: (side: Side) => Promise<T>): Promise<Record<Side, T>> => {
  const [real, simulated] = await Promise.all([work('real'), work('simulated')]);
  return { real, simulated };
};

const SIMULATOR = resolve(import.meta.dirname, '../../../../simulator');

/** The current release of an agent's root, and the simulator of its version; `directory` is for compiled Python. */
export async function programsOf(root: string, directory: string): Promise<Record<Side, ComfyuiProgram>> {
  const release = await readlink(join(root, 'current'));
  const document = Release.parse(JSON.parse(await readFile(join(release, 'release.json'), 'utf8')));
  return {
    real: {
      python: join(release, document.python),
      checkout: join(release, 'ComfyUI'),
      // Compiled once, not at each start.
      environment: { PYTHONPYCACHEPREFIX: join(directory, 'pycache') },
    },
    simulated: {
      python: 'python3',
      checkout: SIMULATOR,
      environment: { PYTHONDONTWRITEBYTECODE: '1', SIM_VERSION: document.comfyuiVersion ?? '', SIM_STARTUP_MS: '0' },
    },
  };
}

const PACKS = {
  good: LIKENESS_PACK,
  broken: 'import a_module_that_is_not_there\n',
  empty: 'NOTHING = True\n',
  leaving: 'import os\nif os.environ.get("LEAVE"):\n    raise SystemExit(7)\nNODE_CLASS_MAPPINGS = {}\n',
};

/** Files for --extra-model-paths-config: a folder of packs, one that is not there, and lists where there may be none. */
export interface PathFiles {
  readonly packs: string;
  readonly nowhere: string;
  readonly lists: string;
}

export async function writePathFiles(directory: string): Promise<PathFiles> {
  const folder = join(directory, 'packs');
  for (const [name, text] of Object.entries(PACKS)) {
    await mkdir(join(folder, name), { recursive: true });
    await writeFile(join(folder, name, '__init__.py'), text);
  }
  await writeFile(join(folder, 'good', 'prestartup_script.py'), 'print("a word at the start")\n');
  const write = async (name: string, content: string): Promise<string> => {
    const path = join(directory, `${name}.yaml`);
    await writeFile(path, `likeness:\n  ${content}\n`);
    return path;
  };
  return {
    packs: await write('packs', `custom_nodes: ${folder}`),
    nowhere: await write('nowhere', `custom_nodes: ${join(directory, 'nowhere')}`),
    lists: await write('lists', 'checkpoints: [a, b]'),
  };
}
