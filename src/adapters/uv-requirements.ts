/** Requirement files on their way to uv: read with all they include, and what must be said to uv beside them. */
import { dirname, relative, resolve as resolvePath } from 'node:path';
import { hashedLine, type LockedPackage, requirementLine } from '../domain/lock.ts';
import { pyprojectRequirements } from '../domain/pyproject.ts';
import { type LocatedRequirement, locateRequirements } from '../domain/requirements.ts';
import type { Files } from '../ports.ts';

const DEEPEST_INCLUDE = 8;

/** One requirement of a file or of what it includes. */
export interface SourceLine extends LocatedRequirement {
  /** Relative to the directory of the first file. */
  readonly file: string;
  /** Of a `-c` file: it narrows and asks for nothing. */
  readonly constraint: boolean;
}

/** A requirement file with everything it includes. */
export interface RequirementSource {
  readonly label: string;
  /** The file itself first, then included ones. */
  readonly files: readonly string[];
  readonly lines: readonly SourceLine[];
}

/** Reads a requirement file and what it includes, for messages; uv reads the files itself. */
export async function readSource(files: Files, label: string, file: string): Promise<RequirementSource> {
  const seen: string[] = [];
  const lines: SourceLine[] = [];
  const base = dirname(resolvePath(file));
  const read = async (path: string, depth: number, constraint: boolean): Promise<void> => {
    if (seen.includes(path) || depth > DEEPEST_INCLUDE) return;
    seen.push(path);
    const text = (await files.readText(path)) ?? '';
    const located = path.endsWith('/pyproject.toml') ? (pyprojectRequirements(text) ?? []) : locateRequirements(text);
    for (const each of located) {
      const { requirement } = each;
      lines.push({ ...each, file: relative(base, path), constraint });
      if (requirement.kind === 'include' && !/^\w+:\/\//.test(requirement.file))
        await read(resolvePath(dirname(path), requirement.file), depth + 1, constraint || requirement.constraint);
    }
  };
  await read(resolvePath(file), 0, false);
  return { label, files: seen, lines };
}

/**
 * Files for uv's command line. Of a pyproject.toml only the dependencies are taken: uv would build the project when it
 * lacks a version, and would read the settings of uv in it.
 */
export async function filesForUv(
  files: Files,
  requirements: readonly { readonly label: string; readonly file: string }[],
  sources: readonly RequirementSource[],
  work: string,
): Promise<{ readonly paths: readonly string[]; readonly names: readonly (readonly [path: string, name: string])[] }> {
  const paths: string[] = [];
  const names: (readonly [string, string])[] = [];
  for (const [index, { label, file }] of requirements.entries()) {
    if (!file.endsWith('/pyproject.toml')) {
      paths.push(file);
      continue;
    }
    const path = `${work}/pyproject-${index}.txt`;
    // Line by line where they stand, so that uv's positions hold too.
    const text = (sources[index]?.lines ?? []).map(({ line }) => `${line.replace(/\s+/g, ' ')}\n`).join('');
    await files.writeText(path, text, 0o600);
    paths.push(path);
    names.push([path, `${label}/pyproject.toml`]);
  }
  return { paths, names };
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
export function keptCommits(preferences: readonly LockedPackage[], sources: readonly RequirementSource[]): string[] {
  const asked = repositoriesAsked(sources);
  return preferences.flatMap((locked) => {
    const said = asked.get(locked.name);
    const isKept = locked.requestedUrl !== undefined && said?.size === 1 && said.has(locked.requestedUrl);
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
