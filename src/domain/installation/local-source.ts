/** What of this machine a requirement names: a file or directory beside the requirements, a `file:` URL, a repository on the disk. */
export interface LocalSource {
  /** As written, without escapes: relative or absolute; null: it cannot be told where it leads, so nobody may follow it. */
  readonly path: string | null;
  /** What stands before the URL of the path, `name @ git+`, and behind it, `[extra] ; marker`. */
  readonly before: string;
  readonly rest: string;
}

const EDITABLE = /^(?:-e|--editable)(?:\s+|=)/;
/** `name[extra] @ …`. */
const NAMED = /^[A-Za-z0-9][\w.-]*\s*(?:\[[^\]]*\]\s*)?@\s*(?=\S)/;
const VCS = /^(?:git|hg|svn|bzr)\+/i;
const SCHEME = /^[a-z][a-z0-9+.-]*:/i;
/** Wherever it stands: what is not understood and says so is not followed either. */
const SAYS_FILE = /(?:^|[^a-z0-9])file:/i;

/** @returns null when the line names nothing of this machine: a package of an index, a URL of the network, an option */
export function localSource(line: string): LocalSource | null {
  const bare = line.replace(EDITABLE, '').replace(/^(["'])(.*)\1$/, '$2');
  const name = NAMED.exec(bare)?.[0] ?? '';
  const reference = bare.slice(name.length);
  const vcs = VCS.exec(reference)?.[0] ?? '';
  const place = reference.slice(vcs.length);
  const before = name + vcs;
  if (/^file:/i.test(place)) return ofUrl(place, before, vcs !== '');
  if (SCHEME.test(place)) return SAYS_FILE.test(place) ? unclear(before) : null;
  if (before === '') return pathAlone(bare) ?? (SAYS_FILE.test(bare) ? unclear(before) : null);
  // A path where a URL belongs; a variable could be anything.
  const { path, rest } = withoutMarker(place);
  return path === null || vcs !== '' || path.includes('$') ? unclear(before) : { path, before, rest };
}

const unclear = (before: string): LocalSource => ({ path: null, before, rest: '' });

/** A URL ends at a space; behind it may stand a marker or options. */
function withoutMarker(text: string): { readonly path: string | null; readonly rest: string } {
  const match = /^(\S+)(\s+(?:;|--).*)?$/.exec(text);
  return { path: match?.[1] ?? null, rest: match?.[2] ?? '' };
}

function ofUrl(url: string, before: string, isVcs: boolean): LocalSource {
  const { path: whole, rest } = withoutMarker(url);
  const [, host = '', written = '', tail = ''] = /^file:(?:\/\/([^/?#]*))?([^?#]*)(.*)$/i.exec(whole ?? '') ?? [];
  const revision = isVcs ? (/@[^/@]*$/.exec(written)?.[0] ?? '') : '';
  const path = decoded(written.slice(0, written.length - revision.length));
  // uv puts variables of its own environment into a line, and a fragment names a directory in what is fetched.
  const isClear = (host === '' || host.toLowerCase() === 'localhost') && !/[$]/.test(whole ?? '$') && !tail.includes('..');
  // A repository is cloned by its URL as it stands.
  if (!isClear || path === null || path === '' || (isVcs && !path.startsWith('/'))) return unclear(before);
  return { path, before, rest: revision + tail + rest };
}

function decoded(text: string): string | null {
  try {
    const path = decodeURIComponent(text);
    return path.includes('\0') ? null : path;
  } catch {
    return null;
  }
}

/** `./wheels/x.whl`, `.[gpu]`, `-e .`. */
function pathAlone(bare: string): LocalSource | null {
  const match = /^([^\s;[]+)(\[[^\]]*\])?(\s*;.*)?$/.exec(bare);
  const path = match?.[1] ?? '';
  if (path.startsWith('-') || path.includes('@')) return null;
  if (path === '.' || path === '..' || path.includes('/') || /\.(?:whl|zip|tar\.gz)$/.test(path))
    return { path, before: '', rest: (match?.[2] ?? '') + (match?.[3] ?? '') };
  return null;
}
