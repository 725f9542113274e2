import { createHash } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { createSimulatorOrigin } from '../comfyui/simulator-origin.ts';
import { makeWheel } from '../python/wheel.ts';
import { createOrigin, type Origin } from './origin.ts';
import { CORE_REQUIREMENTS, type PackRecipe, RECIPES } from './predecessor-list.ts';

/**
 * A stand-in for the predecessor's config_nodes.json, whose repositories lie on GitHub: 60 local git repositories with
 * requirement lines that PyPI meets, submodules, a Git LFS pointer, a `git clone ` prefix, a conflict pair, a pack that swaps
 * torch, an install.py that runs pip and a pack that does not import. ComfyUI is the simulator with a core's requirements.
 */
export interface PredecessorLab {
  /** ComfyUI. */
  readonly core: Origin;
  readonly packs: readonly LabPack[];
  /** Directory with the stub wheels of torch: `TORCH`, and what the swapper asks for. */
  readonly wheels: string;
  /** shared/config_nodes.json, with commits by name of the pack, and without some packs. */
  nodesFile(pins?: Readonly<Record<string, string>>, without?: ReadonlySet<string>): string;
}

export interface LabPack {
  readonly recipe: PackRecipe;
  readonly origin: Origin;
  /** Its entry of config_nodes.json. */
  readonly entry: Readonly<Record<string, unknown>>;
}

/** The torch that the core is to keep. */
export const TORCH = '2.7.1+stub';

const SIDE_BY_SIDE = 4;
const ASSET_BYTES = 100_000;

/** @param count shortens the list; the special ones come first */
export async function createPredecessorLab(directory: string, count = RECIPES.length): Promise<PredecessorLab> {
  const wheels = join(directory, 'wheels');
  for (const version of [TORCH, '2.0.1+stub'])
    await makeWheel(wheels, { name: 'torch', version, files: { 'torch/__init__.py': `__version__ = "${version}"\n` } });
  const core = await createSimulatorOrigin(join(directory, 'origins/ComfyUI'));
  const requirements = await readFile(join(core.directory, 'requirements.txt'), 'utf8');
  await core.commit({ 'requirements.txt': `${requirements}${CORE_REQUIREMENTS.join('\n')}\n` });

  const left = RECIPES.slice(0, count).map((recipe, index) => ({ recipe, index }));
  const packs: LabPack[] = [];
  const worker = async (): Promise<void> => {
    for (let next = left.shift(); next !== undefined; next = left.shift())
      packs[next.index] = await createLabPack(join(directory, 'origins'), next.recipe);
  };
  await Promise.all(Array.from({ length: SIDE_BY_SIDE }, worker));
  return {
    core,
    packs,
    wheels,
    nodesFile: (pins = {}, without = new Set()) => {
      const kept = packs.filter(({ recipe }) => !without.has(recipe.name));
      const entries = kept.map(({ recipe: { name }, entry }) => (pins[name] === undefined ? entry : { ...entry, commit: pins[name] }));
      return JSON.stringify({ custom_nodes: entries }, null, 2);
    },
  };
}

async function createLabPack(directory: string, recipe: PackRecipe): Promise<LabPack> {
  const { name, special } = recipe;
  const origin = await createOrigin(join(directory, name));
  const first = await origin.commit(filesOf(recipe));
  const entry: Record<string, unknown> = { name, url: origin.url, requirements: recipe.requirements.length > 0 };
  switch (special) {
    case 'git-clone-prefix':
      entry['url'] = `git clone ${origin.url}`;
      break;
    case 'pinned':
      entry['commit'] = first;
      await origin.commit({ 'README.md': 'newer than the pin\n' });
      break;
    case 'custom-script':
      entry['custom_script'] = 'if [ -d SCRIPTS ]; then mv SCRIPTS/* . && rmdir SCRIPTS; fi';
      break;
    case 'submodule': {
      const part = await createOrigin(join(directory, `${name}-part`));
      await part.commit({ 'part.py': 'VALUE = 1\n' });
      await origin.submodule('modules/part', part.url);
      entry['recursive'] = true;
      break;
    }
  }
  return { recipe, origin, entry };
}

function filesOf({ name, requirements, imports, special }: PackRecipe): Record<string, string> {
  const className = name.replace(/(^|-)(\w)/g, (_, _dash, letter: string) => letter.toUpperCase());
  return {
    'README.md': `# ${name}\n`,
    '__init__.py': `${nodesPython(className, imports)}\nWEB_DIRECTORY = "./web"\n`,
    'web/extension.js': `// ${name}\n${'export const nothing = 0;\n'.repeat(50)}`,
    'assets/example.json': asset(name),
    ...(requirements.length === 0 ? {} : { 'requirements.txt': `${requirements.join('\n')}\n` }),
    ...(special === 'include' ? { 'requirements/base.txt': 'pyyaml>=6\n-r more.txt\n', 'requirements/more.txt': 'tqdm\n' } : {}),
    ...(special === 'custom-script' ? { 'SCRIPTS/tool.sh': 'echo tool\n' } : {}),
    ...(special === 'install-py'
      ? { 'install.py': 'import subprocess, sys\nsubprocess.check_call([sys.executable, "-m", "pip", "install", "humanize"])\n' }
      : {}),
    ...(special === 'lfs'
      ? {
          '.gitattributes': '*.pth filter=lfs diff=lfs merge=lfs -text\n',
          'weights/model.pth': `version https://git-lfs.github.com/spec/v1\noid sha256:${createHash('sha256').update(name).digest('hex')}\nsize 67040989\n`,
        }
      : {}),
  };
}

/** One node class in a module without relative imports: the simulator imports packs by path, as ComfyUI does. */
const nodesPython = (className: string, imports: readonly string[]): string => `${imports.map((module) => `import ${module}`).join('\n')}


class ${className}Node:
    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"image": ("IMAGE",)}}

    RETURN_TYPES = ("IMAGE",)
    FUNCTION = "run"
    CATEGORY = "${className}"

    def run(self, image):
        return (image,)


NODE_CLASS_MAPPINGS = {"${className}": ${className}Node}`;

/** Text that does not compress, the same in every run. */
function asset(seed: string): string {
  let text = '';
  for (let block = 0; text.length < ASSET_BYTES; block++) text += createHash('sha512').update(`${seed} ${block}`).digest('base64');
  return JSON.stringify({ data: text.slice(0, ASSET_BYTES) });
}
