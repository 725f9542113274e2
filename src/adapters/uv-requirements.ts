/** Requirement files on their way to uv: read with all they include, and what must be said to uv beside them. */
import { dirname, relative, resolve as resolvePath } from 'node:path';
import { pathToFileURL } from 'node:url';
import { hashedLine, type LockedPackage, requirementLine } from '../domain/lock.ts';
import { pyprojectRequirements } from '../domain/pyproject.ts';
import { isIndexOption, type LocatedRequirement, localPath, locateRequirements, requirementNames } from '../domain/requirements.ts';
import type { Files } from '../ports.ts';

const DEEPEST_INCLUDE = 8;

/** One requirement of a file or of what it includes. */
export interface SourceLine extends LocatedRequirement {
  /** Relative to the directory of the first file. */
  readonly file: string;
  /** Of a `-c` file: it narrows and asks for nothing. */
  readonly constraint: boolean;
  /** Absolute, where the line names a file or directory, or includes one. */
  readonly path: string | null;
}

/** A requirement file with everything it includes. */
export interface RequirementSource {
  readonly label: string;
  /** The file itself first, then included ones. */
  readonly files: readonly string[];
  readonly lines: readonly SourceLine[];
  /** Those of the files that could be read. */
  readonly readable: ReadonlySet<string>;
}

/** Reads a requirement file and what it includes, for messages; uv reads the files itself. */
export async function readSource(files: Files, label: string, file: string): Promise<RequirementSource> {
  const seen: string[] = [];
  const lines: SourceLine[] = [];
  const readable = new Set<string>();
  const base = dirname(resolvePath(file));
  const read = async (path: string, depth: number, constraint: boolean): Promise<void> => {
    if (seen.includes(path) || depth > DEEPEST_INCLUDE) return;
    seen.push(path);
    const text = await files.readText(path);
    if (text === null) return;
    readable.add(path);
    const located = path.endsWith('/pyproject.toml') ? (pyprojectRequirements(text) ?? []) : locateRequirements(text);
    for (const each of located) {
      const { requirement, line } = each;
      const isInclude = requirement.kind === 'include' && !/^\w+:\/\//.test(requirement.file);
      const included = isInclude ? resolvePath(dirname(path), requirement.file) : null;
      const local = requirement.kind === 'package' ? null : localPath(line);
      // As where people run pip: in the pack's own folder.
      const named = included ?? (local === null ? null : resolvePath(base, local.path));
      lines.push({ ...each, file: relative(base, path), constraint, path: named });
      if (isInclude && included !== null) await read(included, depth + 1, constraint || requirement.constraint);
    }
  };
  await read(resolvePath(file), 0, false);
  return { label, files: seen, lines, readable };
}

/**
 * Files for uv's command line: a pack's own, or one in the work directory that says the same where uv must not read it as
 * it is. Of a pyproject.toml only the dependencies count: uv would build the project when it lacks a version, and obey
 * its settings. Relative paths are the pack's, editable ones are installed as copies, and places to take packages from are
 * the configuration's alone.
 */
export async function filesForUv(
  files: Files,
  sources: readonly RequirementSource[],
  work: string,
): Promise<readonly (RequirementSource & { readonly fileForUv: string })[]> {
  const prepared: (RequirementSource & { readonly fileForUv: string })[] = [];
  for (const [index, source] of sources.entries()) {
    const [file = ''] = source.files;
    const name = file.slice(file.lastIndexOf('/') + 1);
    const isAsItIs = name !== 'pyproject.toml' && !source.lines.some(({ line }) => isIndexOption(line) || localPath(line) !== null);
    if (isAsItIs) {
      prepared.push({ ...source, fileForUv: file });
      continue;
    }
    // Of the same name, so that messages are told alike.
    const path = `${work}/${index}/${name === 'pyproject.toml' ? 'pyproject.txt' : name}`;
    await files.ensureDirectory(`${work}/${index}`, 0o700);
    await files.writeText(path, source.lines.flatMap((line) => lineForUv(line, source)).join(''), 0o600);
    prepared.push({ ...source, files: [...source.files, path], fileForUv: path });
  }
  return prepared;
}

/** Included files are written out, those that cannot be read stay for uv to complain about. */
function lineForUv({ line, path, constraint, requirement }: SourceLine, source: RequirementSource): string[] {
  // Lines of a `-c` file come in by that file.
  if (constraint || isIndexOption(line)) return [];
  if (requirement.kind === 'include') {
    if (path === null) return [`${line}\n`];
    if (requirement.constraint) return [`-c ${path}\n`];
    return source.readable.has(path) ? [] : [`-r ${path}\n`];
  }
  const local = path === null ? null : localPath(line);
  return [local === null || path === null ? `${line.replace(/\s+/g, ' ')}\n` : `${pathToFileURL(path).href}${local.rest}\n`];
}

/** Lines that ask for a repository by name, and how. */
const repositoriesAsked = (sources: readonly RequirementSource[]): Map<string, Set<string>> => {
  const asked = new Map<string, Set<string>>();
  for (const { requirement, constraint } of sources.flatMap(({ lines }) => lines)) {
    if (constraint || (requirement.kind !== 'package' && requirement.kind !== 'url') || requirement.name === null) continue;
    const said = requirement.url ?? (requirement.kind === 'package' ? requirement.specifier : '');
    if (said !== '') asked.set(requirement.name, (asked.get(requirement.name) ?? new Set()).add(said));
  }
  return asked;
};

const isVcs = (url: string): boolean => /^(?:git|hg|svn|bzr)\+/.test(url);

/**
 * uv keeps versions of an earlier resolution but asks every repository anew. A commit is kept, as an override, where
 * everybody who asks for the package still asks for the same URL.
 */
export function keptCommits(
  preferences: readonly LockedPackage[],
  sources: readonly RequirementSource[],
  overrides: readonly string[],
): string[] {
  const asked = repositoriesAsked(sources);
  const overridden = new Set(requirementNames(overrides.join('\n')));
  return preferences.flatMap((locked) => {
    const said = asked.get(locked.name);
    const isKept = !overridden.has(locked.name) && locked.requestedUrl !== undefined && said?.size === 1 && said.has(locked.requestedUrl);
    return isKept ? [requirementLine(locked)] : [];
  });
}

/** Notes what a commit was found for, so that a later resolution can tell whether it still holds. */
export function withRequestedUrl(locked: LockedPackage, sources: readonly RequirementSource[]): LockedPackage {
  if (locked.url === null || !isVcs(locked.url)) return locked;
  const [said, ...others] = repositoriesAsked(sources).get(locked.name) ?? [];
  return said === undefined || others.length > 0 || !isVcs(said) || /@[0-9a-f]{40}(?:#|$)/.test(said)
    ? locked
    : { ...locked, requestedUrl: said };
}

/** Text of the file in which uv finds an earlier resolution. */
export const preferencesText = (preferences: readonly LockedPackage[]): string =>
  preferences
    .filter(({ url }) => url === null)
    .map((locked) => `${hashedLine(locked)}\n`)
    .join('');
