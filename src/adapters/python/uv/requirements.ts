/** Requirement files on their way to uv: read with all they include, and what must be said to uv beside them. */
import { basename, dirname, relative, resolve as resolvePath } from 'node:path';
import { pathToFileURL } from 'node:url';
import { AgentError } from '../../../domain/errors/errors.ts';
import { INPUT_LIMITS } from '../../../domain/files/foreign.ts';
import { localSource } from '../../../domain/installation/local-source.ts';
import { hashedLine, type LockedPackage, requirementLine } from '../../../domain/installation/lock.ts';
import { pyprojectRequirements } from '../../../domain/installation/pyproject.ts';
import { type AskedLine, lineWithPlace } from '../../../domain/installation/requirement-conflict.ts';
import { type LocatedRequirement, locateRequirements, redactUrls, requirementNames } from '../../../domain/installation/requirements.ts';
import type { Files } from '../../../ports/files.ts';
import type { ResolveRequest } from '../../../ports/python.ts';

const DEEPEST_INCLUDE = 8;
const MOST_FILES = 100;

/** One requirement of a file or of what it includes. */
export interface SourceLine extends LocatedRequirement {
  /** Relative to the directory of the first file. */
  readonly file: string;
  /** Of a `-c` file: it narrows and asks for nothing. */
  readonly constraint: boolean;
  /** Absolute, where the line names a file or directory. */
  readonly path: string | null;
}

/** A line that is not followed, and why. */
interface RefusedLine {
  readonly asked: Omit<AskedLine, 'pack'>;
  readonly why: string;
}

/** A requirement file with everything it includes. */
export interface RequirementSource {
  readonly label: string;
  /** The file itself first, then included ones. */
  readonly files: readonly string[];
  readonly lines: readonly SourceLine[];
}

/** Where the requirements of somebody stand, and the directory that they may not leave. */
type RequirementPlace = ResolveRequest['requirements'][number];

/**
 * Reads requirement files and what they include, each within its directory. uv never reads them.
 * @throws AgentError REQUIREMENTS_UNRESOLVED naming every file that includes or names what it must not, and the line
 */
export async function readSources(files: Files, places: readonly RequirementPlace[]): Promise<RequirementSource[]> {
  const read = await Promise.all(places.map((place) => readSource(files, place)));
  const refused = read.filter((source) => source.refused.length > 0);
  if (refused.length > 0) {
    const told = refused.flatMap(({ label, refused: lines }) =>
      lines.map(({ asked, why }) => `${label}: ${redactUrls(lineWithPlace(asked))}: ${why}`),
    );
    throw new AgentError('REQUIREMENTS_UNRESOLVED', told.join('; '), {
      details: {
        explanation: told.join('\n'),
        labels: refused.map(({ label }) => label),
        asked: refused.flatMap(({ label, refused: lines }) =>
          lines.map(({ asked }) => ({ ...asked, line: redactUrls(asked.line), pack: label })),
        ),
      },
    });
  }
  return read.map(({ refused: _none, ...source }) => source);
}

async function readSource(
  files: Files,
  { label, file, within, trusted = false }: RequirementPlace,
): Promise<RequirementSource & { readonly refused: readonly RefusedLine[] }> {
  const seen: string[] = [];
  const lines: SourceLine[] = [];
  const refused: RefusedLine[] = [];
  const base = dirname(resolvePath(file));
  const read = async (path: string, depth: number, constraint: boolean, by: RefusedLine['asked'] | null): Promise<void> => {
    if (seen.includes(path)) return;
    const refuse = (why: string): void =>
      void refused.push({ asked: by ?? { line: '', file: relative(base, path), lineNumber: null }, why });
    if (depth > DEEPEST_INCLUDE) return refuse(`files include each other more than ${DEEPEST_INCLUDE} deep`);
    if (seen.length >= MOST_FILES) return refuse(`it includes more than ${MOST_FILES} files`);
    seen.push(path);
    const text = await files.readForeign(path, { within, maxBytes: INPUT_LIMITS.source }).catch((error: unknown) => {
      if (!(error instanceof AgentError) || (error.code !== 'INPUT_REFUSED' && error.code !== 'FILE_UNREADABLE')) throw error;
      const { why } = error.details;
      refuse(typeof why === 'string' ? why.replaceAll(within, 'its directory') : 'it could not be read');
      return null;
    });
    if (text === null) {
      if (by !== null && refused.every(({ asked }) => asked !== by)) refuse('there is no such file');
      return;
    }
    const located = path.endsWith('/pyproject.toml') ? (pyprojectRequirements(text) ?? []) : locateRequirements(text);
    for (const each of located) {
      const { requirement, line, lineNumber } = each;
      const asked = { line, file: relative(base, path), lineNumber };
      if (requirement.kind === 'include') {
        if (/^\w+:\/\//.test(requirement.file)) refused.push({ asked, why: 'files of the network are not followed' });
        else await read(resolvePath(dirname(path), requirement.file), depth + 1, constraint || requirement.constraint, asked);
        continue;
      }
      const local = requirement.kind === 'package' && requirement.url === null ? null : localSource(line);
      // As where people run pip: in the pack's own folder.
      const named = local === null || local.path === null ? null : resolvePath(base, local.path);
      const isFollowed = local === null || trusted || (named !== null && (await staysWithin(files, named, within)));
      if (!isFollowed)
        refused.push({ asked, why: named === null ? 'it cannot be told which place it names' : 'it leads out of its directory' });
      else lines.push({ ...each, file: asked.file, constraint, path: named });
    }
  };
  await read(resolvePath(file), 0, false, null);
  return { label, files: seen, lines, refused };
}

/** By its name first, so that nobody learns whether something is there. What is not there uv complains about. */
async function staysWithin(files: Files, path: string, within: string): Promise<boolean> {
  const isBelow = (each: string, top: string): boolean => each === top || each.startsWith(`${top}/`);
  if (!isBelow(path, resolvePath(within))) return false;
  const [real, top] = await Promise.all([files.realPath(path), files.realPath(within)]);
  return real === null || top === null || isBelow(real, top);
}

/**
 * Files for uv's command line, in the work directory: what was read, written out, so that uv reads nothing of a pack and
 * follows nothing in it. Of a pyproject.toml only the dependencies count. Relative paths are the pack's, editable ones are
 * installed as copies; places to take packages from, and how to install, are the configuration's alone.
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
    // Of the same name, so that messages are told alike.
    const path = `${work}/${index}/${name === 'pyproject.toml' ? 'pyproject.txt' : name}`;
    const constraints = source.lines.filter(({ constraint }) => constraint).flatMap(lineForUv);
    const narrowed = constraints.length === 0 ? null : `${work}/${index}/included-constraints.txt`;
    await files.ensureDirectory(`${work}/${index}`, 0o700);
    if (narrowed !== null) await files.writeText(narrowed, constraints.join(''), 0o600);
    const own = source.lines.filter(({ constraint }) => !constraint).flatMap(lineForUv);
    // Relative to the file that names it.
    await files.writeText(path, [...own, ...(narrowed === null ? [] : [`-c ${basename(narrowed)}\n`])].join(''), 0o600);
    prepared.push({ ...source, files: [...source.files, path, ...(narrowed === null ? [] : [narrowed])], fileForUv: path });
  }
  return prepared;
}

/** One line always, whatever was hidden in it. */
function lineForUv({ line, path, requirement }: SourceLine): string[] {
  if (requirement.kind === 'include' || (line.startsWith('-') && !/^(?:-e|--editable|--no-binary|--only-binary)(?:[\s=]|$)/.test(line)))
    return [];
  const local = path === null ? null : localSource(line);
  const text = local === null || path === null ? line : `${local.before}${pathToFileURL(path).href}${local.rest}`;
  return [`${text.replace(/\s+/g, ' ')}\n`];
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
