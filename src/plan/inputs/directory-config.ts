import { posix } from 'node:path';
import type { AgentError } from '../../domain/errors/errors.ts';
import { readYaml } from '../text/positioned-text.ts';
import { type ProblemList, problemList, problemsError, shown, type TextProblem } from '../text/problem.ts';

/** One section of comfy_dir_config.yaml: where the folders of some categories lie. */
export interface DirectorySection {
  readonly name: string;
  /** ComfyUI then searches these folders before its own, and the last one written comes first. */
  readonly isDefault: boolean;
  readonly categories: readonly DirectoryCategory[];
}

interface DirectoryCategory {
  readonly name: string;
  /** Absolute, without `..`, in the order of the file. */
  readonly paths: readonly string[];
  readonly line: number | null;
}

export interface DirectoryConfigOptions {
  /** Absolute: relative entries count from its directory, as in ComfyUI. */
  readonly path: string;
  readonly environment: Readonly<Record<string, string | undefined>>;
}

export type DirectoryConfigResult =
  | { readonly ok: true; readonly sections: readonly DirectorySection[]; readonly warnings: readonly TextProblem[] }
  | { readonly ok: false; readonly problems: readonly TextProblem[] };

/** Keys that move directories in other programs; in ComfyUI they only make a search path. */
const ONLY_SEARCHED: Readonly<Record<string, string>> = {
  input: '--input-directory',
  output: '--output-directory',
  user: '--user-directory',
  temp: '--temp-directory',
  workflows: '--user-directory',
};

/** comfy_dir_config.yaml: ComfyUI's extra_model_paths.yaml, with lists and variables allowed everywhere. */
export function readDirectoryConfig(text: string, { path, environment }: DirectoryConfigOptions): DirectoryConfigResult {
  const read = readYaml(text, { path, merge: true });
  if (!read.ok) return read;
  const { value, lineOf } = read.text;
  const list = problemList(path);
  if (value === null || value === undefined) return { ok: true, sections: [], warnings: [] };
  if (typeof value !== 'object' || Array.isArray(value)) {
    list.problem(
      1,
      null,
      `found ${shown(value)}, where sections are expected`,
      'write "comfyui:" and below it "checkpoints: models/checkpoints"',
    );
    return { ok: false, problems: list.problems };
  }
  const sections = Object.entries(value).flatMap(([name, section]) => {
    if (section === null) return [];
    const parsed = readSection(
      { name, section, directory: posix.dirname(path), environment, lineOf: (...keys) => lineOf([name, ...keys]) },
      list,
    );
    return parsed === null ? [] : [parsed];
  });
  return list.problems.length > 0 ? { ok: false, problems: list.problems } : { ok: true, sections, warnings: list.warnings };
}

export const directoryConfigError = (problems: readonly TextProblem[]): AgentError => problemsError('PATHS_FILE_INVALID', problems);

interface SectionText {
  readonly name: string;
  readonly section: unknown;
  readonly directory: string;
  readonly environment: DirectoryConfigOptions['environment'];
  readonly lineOf: (...keys: readonly string[]) => number | null;
}

function readSection({ name, section, directory, environment, lineOf }: SectionText, list: ProblemList): DirectorySection | null {
  const subject = `section ${name}`;
  if (typeof section !== 'object' || section === null || Array.isArray(section)) {
    list.problem(
      lineOf(),
      subject,
      `found ${shown(section)}, where categories with paths are expected`,
      `write "${name}:" and below it, indented, "checkpoints: models/checkpoints"`,
    );
    return null;
  }
  const { base_path: written, is_default: first, ...rest } = section as Readonly<Record<string, unknown>>;
  // Python's yaml reads yes and on as true.
  const isDefault = /^(true|yes|on)$/i.test(String(first));
  if (first !== undefined && first !== null && !/^(true|yes|on|false|no|off)$/i.test(String(first)))
    list.problem(lineOf('is_default'), subject, `is_default: found ${shown(first)}`, 'write true or false');
  let base = directory;
  if (written !== undefined && written !== null) {
    if (typeof written !== 'string' || written.trim() === '') {
      list.problem(lineOf('base_path'), subject, `base_path: found ${shown(written)}`, 'write one path');
      return null;
    }
    const expanded = expandPath(written.trim(), environment);
    if (expanded.unset.length > 0) {
      list.warning(
        lineOf('base_path'),
        subject,
        `base_path names ${expanded.unset.join(', ')}, which is not set: the section is left out`,
        'set the variable or write the path',
      );
      return null;
    }
    base = posix.resolve(directory, expanded.path);
  }
  const categories = Object.entries(rest).flatMap(([category, value]): DirectoryCategory[] => {
    const line = lineOf(category);
    const entries = pathsOf(category, value, { subject, line }, list);
    const paths = entries.flatMap((entry) => {
      const expanded = expandPath(entry, environment);
      if (expanded.unset.length > 0)
        list.warning(
          line,
          subject,
          `${category}: ${entry} names ${expanded.unset.join(', ')}, which is not set: it is left out`,
          'set the variable or write the path',
        );
      return expanded.unset.length > 0 ? [] : [posix.resolve(base, expanded.path)];
    });
    const flag = Object.hasOwn(ONLY_SEARCHED, category) ? ONLY_SEARCHED[category] : undefined;
    if (flag !== undefined)
      list.warning(
        line,
        subject,
        `${category} is only a search path for models`,
        `the agent tells ComfyUI that directory with ${flag}; this line can be removed`,
      );
    return paths.length === 0 ? [] : [{ name: category, paths, line }];
  });
  return { name, isDefault, categories };
}

function pathsOf(
  category: string,
  value: unknown,
  { subject, line }: { readonly subject: string; readonly line: number | null },
  list: ProblemList,
): string[] {
  if (value === null) {
    list.warning(line, subject, `${category} names no path`, 'remove it');
    return [];
  }
  if (typeof value === 'string') return nonEmptyLines(value);
  if (Array.isArray(value) && value.every((item) => typeof item === 'string')) {
    list.warning(
      line,
      subject,
      `${category} is a list, which ComfyUI itself cannot read; the agent gives it the same paths as lines`,
      `write "${category}: |" and one path on each line below`,
    );
    return value.flatMap(nonEmptyLines);
  }
  list.problem(
    line,
    subject,
    `${category}: found ${shown(value)}, where a path is expected`,
    'write one path, or "|" and one path on each line below',
  );
  return [];
}

const nonEmptyLines = (text: string): string[] =>
  text
    .split('\n')
    .map((line) => line.trim())
    .filter((line) => line !== '');

/** `$NAME`, `${NAME}` and `~`, as Python's expandvars and expanduser; what is not set is told. */
function expandPath(
  path: string,
  environment: DirectoryConfigOptions['environment'],
): { readonly path: string; readonly unset: readonly string[] } {
  const unset: string[] = [];
  const variableOf = (name: string): string => {
    const value = environment[name];
    if (value === undefined) unset.push(name);
    return value ?? '';
  };
  const expanded = path.replace(/\$(?:([A-Za-z_]\w*)|\{([^}]*)\})/g, (_, bare: string | undefined, braced: string | undefined) =>
    variableOf(bare ?? braced ?? ''),
  );
  return { path: expanded.replace(/^~(?=\/|$)/, () => variableOf('HOME')), unset };
}
