/** What `git ls-remote` says, and the words for a branch that is not there. Pure. */
import { AgentError } from '../../domain/errors/errors.ts';

interface RemoteRef {
  /** Full name, `refs/heads/main`. */
  readonly name: string;
  /** The commit; of an annotated tag the one it points at. */
  readonly commit: string;
}

export interface RemoteRefs {
  /** Full name of the branch HEAD stands for; null when the server does not tell. */
  readonly head: string | null;
  readonly headCommit: string | null;
  readonly refs: readonly RemoteRef[];
}

const objectId = /^[0-9a-f]{40}(?:[0-9a-f]{24})?$/;
/** A whole commit id (SHA-1 or SHA-256). */
export const isFullCommit = (text: string): boolean => objectId.test(text);
/** A commit id or the beginning of one, lower case. */
export const isCommitPrefix = (text: string): boolean => /^[0-9a-f]{4,64}$/.test(text);

/** Parses `git ls-remote --symref`: tags are peeled, lines that are none are passed over. */
export function parseRemoteRefs(output: string): RemoteRefs {
  let head: string | null = null;
  let headCommit: string | null = null;
  const commits = new Map<string, string>();
  const peeled = new Map<string, string>();
  for (const line of output.split('\n')) {
    const [first = '', name = ''] = line.split('\t');
    if (first.startsWith('ref: ') && name === 'HEAD') head = first.slice('ref: '.length);
    else if (!isFullCommit(first) || name === '') continue;
    else if (name === 'HEAD') headCommit = first;
    else if (name.endsWith('^{}')) peeled.set(name.slice(0, -3), first);
    else commits.set(name, first);
  }
  return { head, headCommit, refs: [...commits].map(([name, commit]) => ({ name, commit: peeled.get(name) ?? commit })) };
}

/** Whether git would take it as a branch or tag name (git-check-ref-format), and ls-remote not as a pattern. */
export function isRefName(name: string): boolean {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: control characters are what is looked for
  const forbidden = /[\u0000-\u0020\u007f~^:?*[\\]|\.\.|@\{|\/\/|\/\.|\.lock(\/|$)|^[./-]|[./]$|^@$/;
  return name !== '' && name.length <= 250 && !forbidden.test(name);
}

/** BRANCH_NOT_FOUND with up to five nearest names. */
export function branchNotFound(branch: string, shownUrl: string, existing: readonly string[]): AgentError {
  const nearest = nearestNames(branch, existing, 5);
  const named =
    nearest.length === 0
      ? ''
      : `; it has ${nearest.map((name) => `"${name}"`).join(', ')}${existing.length > nearest.length ? ` and ${existing.length - nearest.length} more` : ''}`;
  return new AgentError('BRANCH_NOT_FOUND', `${shownUrl} has no branch or tag "${branch}"${named}`, { details: { branch, nearest } });
}

/** The names that differ least from the wanted one, best first. */
export function nearestNames(wanted: string, names: readonly string[], limit: number): readonly string[] {
  const target = wanted.toLowerCase().slice(0, 100);
  // A server may list tens of thousands of names: only so many are measured.
  return names
    .slice(0, 5_000)
    .map((name) => {
      const candidate = name.toLowerCase().slice(0, 100);
      const within = candidate.includes(target) || target.includes(candidate);
      return { name, distance: editDistance(target, candidate) - (within ? Math.min(target.length, candidate.length) : 0) };
    })
    .sort((a, b) => a.distance - b.distance || (a.name < b.name ? -1 : 1))
    .slice(0, limit)
    .map(({ name }) => name);
}

function editDistance(a: string, b: string): number {
  let previous = Array.from({ length: b.length + 1 }, (_, column) => column);
  for (let row = 1; row <= a.length; row++) {
    const current = [row];
    for (let column = 1; column <= b.length; column++) {
      const replaced = (previous[column - 1] ?? 0) + (a[row - 1] === b[column - 1] ? 0 : 1);
      current.push(Math.min(replaced, (previous[column] ?? 0) + 1, (current[column - 1] ?? 0) + 1));
    }
    previous = current;
  }
  return previous[b.length] ?? 0;
}
