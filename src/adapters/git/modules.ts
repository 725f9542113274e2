/** What .gitmodules says, and which of it is believed. Pure: whoever can push to a repository writes that file. */
import { AgentError, isAgentError } from '../../domain/errors/errors.ts';
import { type GitUrl, parseGitUrl, redactUrl } from '../../domain/installation/git-url.ts';

export interface ModuleEntry {
  readonly name: string;
  readonly path: string | null;
  readonly url: string | null;
  readonly update: string | null;
}

/** @param listing `git config --null --list` of a .gitmodules: `submodule.<name>.<key>`, a line end, the value. */
export function parseModules(listing: string): readonly ModuleEntry[] {
  const entries = new Map<string, { name: string; path: string | null; url: string | null; update: string | null }>();
  for (const record of listing.split('\0')) {
    const match = /^submodule\.([\s\S]*)\.(path|url|update)(?:\n([\s\S]*))?$/.exec(record);
    if (match === null) continue;
    const [, name = '', key = '', value = ''] = match;
    const entry = entries.get(name) ?? { name, path: null, url: null, update: null };
    entries.set(name, { ...entry, [key]: value });
  }
  return [...entries.values()];
}

/** A submodule that is not fetched because of what .gitmodules says of it. */
export const refusedSubmodule = (parent: GitUrl, path: string, why: string): AgentError =>
  new AgentError('SOURCE_REFUSED', `submodule ${JSON.stringify(path)} of ${redactUrl(parent.url)} is refused: ${why}`, {
    help: 'correct its .gitmodules, or leave "recursive" out for that pack',
    details: { url: redactUrl(parent.url), path },
  });

/** @throws AgentError SOURCE_REFUSED when a name, path or update command could reach out of the work tree or run something */
export function checkModule(parent: GitUrl, path: string, entry: ModuleEntry): void {
  const refuse = (why: string): AgentError => refusedSubmodule(parent, path, why);
  // biome-ignore lint/suspicious/noControlCharactersInRegex: control characters are what is looked for
  const control = /[\u0000-\u001f\u007f]/;
  if (entry.name === '' || entry.name.startsWith('-') || control.test(entry.name) || entry.name.split(/[/\\]/).includes('..'))
    throw refuse(`its name ${JSON.stringify(entry.name)} is not safe`);
  const parts = path.split('/');
  if (path.startsWith('-') || control.test(path) || parts.some((part) => ['', '.', '..'].includes(part) || /^\.git$/i.test(part)))
    throw refuse('its path is not safe');
  if (entry.update?.startsWith('!')) throw refuse('it names a command to run');
}

/**
 * The repository of a submodule: relative URLs count from the superproject's. Credentials go along to the same host only.
 * @throws AgentError SOURCE_REFUSED
 */
export function submoduleUrl(parent: GitUrl, path: string, written: string): GitUrl {
  const refuse = (why: string): AgentError => refusedSubmodule(parent, path, why);
  if (written.startsWith('-')) throw refuse('its URL begins with "-"');
  let found: GitUrl;
  try {
    found = parseGitUrl(/^\.{1,2}(\/|$)/.test(written) ? relativeUrl(parent.url, written) : written);
  } catch (error) {
    throw refuse(isAgentError(error) ? `its URL is not allowed: ${error.message}` : String(error));
  }
  if (found.transport === 'local' && parent.transport !== 'local')
    throw refuse('its URL is a path on this machine, which is not allowed for a repository from elsewhere');
  if (found.credentials === null && found.scope !== null && found.scope === parent.scope)
    return { ...found, credentials: parent.credentials };
  return found;
}

/** As git does it: each `..` takes one part off the path; the host stays. */
function relativeUrl(base: string, written: string): string {
  const [prefix = ''] = /^[A-Za-z][\w+.-]*:\/\/[^/]*/.exec(base) ??
    (base.startsWith('/') ? [''] : /^(?:[^:/[]+|[^[]*\[[^\]]*\]):/.exec(base)) ?? [''];
  const rest = base.slice(prefix.length);
  const parts = rest.split('/').filter((part) => part !== '');
  for (const part of written.split('/')) {
    if (part === '' || part === '.') continue;
    if (part !== '..') parts.push(part);
    else if (parts.pop() === undefined)
      throw new AgentError('SOURCE_REFUSED', `${JSON.stringify(written)} leads out of ${redactUrl(base)}`);
  }
  if (parts.length === 0) throw new AgentError('SOURCE_REFUSED', `${JSON.stringify(written)} names no repository`);
  return `${prefix}${rest.startsWith('/') ? '/' : ''}${parts.join('/')}`;
}
