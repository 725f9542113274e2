import { type FakeRepository, fakeCommitId } from '../../fakes/git.ts';

export const COMFYUI = 'https://example.com/ComfyUI.git';
export const packUrl = (name: string): string => `https://example.com/${name}.git`;

/** A repository with one commit on main. */
export const aRepository = (name: string, files: Readonly<Record<string, string>>): FakeRepository => {
  const commit = fakeCommitId(`${name} 1`);
  return { branches: { main: commit }, commits: { [commit]: { files } } };
};

/** A new commit on main. @returns its id */
export function push(repository: FakeRepository | undefined, name: string, files: Readonly<Record<string, string>>): string {
  if (repository === undefined) throw new Error(`there is no repository ${name}`);
  const commit = fakeCommitId(`${name} ${Object.keys(repository.commits).length + 1}`);
  repository.commits[commit] = { files };
  repository.branches['main'] = commit;
  return commit;
}

export const CORE_FILES = {
  'main.py': 'print()',
  'comfyui_version.py': '__version__ = "0.3.50"',
  'requirements.txt': 'torch\naiohttp\n',
  'models/configs/v1.yaml': 'model: 1',
};

/** ComfyUI and packs, as repositories by URL. null: a pack that asks for nothing. */
export function repositories(packs: Readonly<Record<string, string | null>> = {}): Record<string, FakeRepository> {
  const found: Record<string, FakeRepository> = { [COMFYUI]: aRepository('ComfyUI', CORE_FILES) };
  for (const [name, requirements] of Object.entries(packs)) {
    found[packUrl(name)] = aRepository(name, { '__init__.py': 'NODES = {}', 'requirements.txt': requirements ?? '# none' });
  }
  return found;
}

/** config_nodes.json; a name alone is a pack with requirements. */
export const configNodes = (...packs: (string | { readonly name: string; readonly [key: string]: unknown })[]): string =>
  JSON.stringify({
    custom_nodes: packs.map((pack) => {
      const entry = typeof pack === 'string' ? { name: pack } : pack;
      return { url: packUrl(entry.name), requirements: true, ...entry };
    }),
  });

/** What the packages of the tests need of an index. */
export const INDEX = {
  torch: ['2.6.0', '2.7.1'],
  aiohttp: ['3.11.8', '3.14.1', '3.14.2'],
  requests: ['2.32.0'],
  pip: ['25.0'],
  numpy: ['1.26.4', '2.2.0'],
  pillow: ['10.0.0', '11.0.0'],
};
