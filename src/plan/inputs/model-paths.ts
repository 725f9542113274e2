import type { DirectorySection } from './directory-config.ts';
import { MODEL_CATEGORIES } from './model-categories.ts';

export interface ModelPathsInput {
  readonly sections: readonly DirectorySection[];
  /** The agent's own models directory, absolute. */
  readonly modelsDirectory: string;
  readonly exists: (path: string) => boolean;
  /** Paths that are the release's own custom_nodes, which ComfyUI loads anyway: the release's, `current`'s, the install path's. */
  readonly releaseCustomNodes: readonly string[];
  /** `packs.directories`: other pack directories that may be loaded. */
  readonly allowedPackDirs: readonly string[];
}

export interface ModelPathsFile {
  /** Content for `--extra-model-paths-config`. */
  readonly yaml: string;
  /** Pack directories outside the release that ComfyUI will load: `agent status` tells them. */
  readonly packDirectories: readonly string[];
  readonly warnings: readonly string[];
}

/**
 * The file that ComfyUI reads: the agent's own models directory first, then what comfy_dir_config.yaml lists. Values are
 * text with one absolute path a line, never lists; a `custom_nodes` folder that is missing would end ComfyUI at once, so it
 * is left out (reference comfyui.md section 6).
 */
export function modelPathsFile({
  sections,
  modelsDirectory,
  exists,
  releaseCustomNodes,
  allowedPackDirs,
}: ModelPathsInput): ModelPathsFile {
  const warnings: string[] = [];
  const packDirectories: string[] = [];
  const isWithin = (path: string, directory: string): boolean =>
    path === directory || path.startsWith(`${directory.replace(/(?<!\/)\/+$/, '')}/`);
  const mayLoad = (path: string): boolean => {
    if (releaseCustomNodes.includes(path)) return false;
    if (!allowedPackDirs.some((directory) => isWithin(path, directory))) {
      warnings.push(
        `the packs in ${path} are not loaded, because they lie outside the release; add the directory to packs.directories if they should be`,
      );
      return false;
    }
    if (!exists(path)) {
      warnings.push(
        `custom_nodes folder ${path} does not exist and is left out, because ComfyUI would not start with it; create it or remove the line from comfy_dir_config.yaml`,
      );
      return false;
    }
    if (!packDirectories.includes(path)) {
      packDirectories.push(path);
      warnings.push(`packs in ${path} are loaded from outside the release (packs.directories); the agent neither installs nor checks them`);
    }
    return true;
  };

  const own: Section = {
    name: 'comfylet',
    isDefault: false,
    categories: Object.entries(MODEL_CATEGORIES).map(([name, folders]) => ({
      name,
      paths: folders.map((folder) => `${modelsDirectory}/${folder}`),
    })),
  };
  const theirs = sections.map(
    (section): Section => ({
      name: section.name === own.name ? `${section.name}_2` : section.name,
      isDefault: section.isDefault,
      categories: section.categories.flatMap(({ name, paths }) => {
        const kept = name === 'custom_nodes' ? paths.filter(mayLoad) : paths;
        const missing = name === 'custom_nodes' ? [] : kept.filter((path) => !exists(path));
        if (missing.length > 0) warnings.push(`${section.name}.${name}: ${missing.join(', ')} does not exist yet; nothing is found there`);
        return kept.length === 0 ? [] : [{ name, paths: kept }];
      }),
    }),
  );
  const yaml = ['# Written by the agent from comfy_dir_config.yaml; changes are lost.', ...[own, ...theirs].flatMap(lines)].join('\n');
  return { yaml: `${yaml}\n`, packDirectories, warnings };
}

interface Section {
  readonly name: string;
  readonly isDefault: boolean;
  readonly categories: readonly { readonly name: string; readonly paths: readonly string[] }[];
}

const lines = ({ name, isDefault, categories }: Section): string[] =>
  categories.length === 0
    ? []
    : [
        `${scalar(name)}:`,
        ...(isDefault ? ['  is_default: true'] : []),
        ...categories.map((category) => `  ${scalar(category.name)}: ${scalar(category.paths.join('\n'))}`),
      ];

/** Double-quoted YAML in ASCII: the fork opens the file in the locale's encoding. */
const scalar = (text: string): string =>
  `"${[...text].map((letter) => (letter === '\n' ? '\\n' : letter === '"' || letter === '\\' ? `\\${letter}` : /[ -~]/.test(letter) ? letter : `\\U${(letter.codePointAt(0) ?? 0).toString(16).padStart(8, '0')}`)).join('')}"`;
