/**
 * Git URLs as people write them: https, ssh, git, file, `user@host:path` and plain local paths. Credentials are taken
 * off before a URL is stored, shown or handed to a program.
 */
import { AgentError } from '../errors/errors.ts';

type GitTransport = 'http' | 'ssh' | 'git' | 'local';

export interface GitUrl {
  /** Without credentials; what is stored as `origin` and given to git. */
  readonly url: string;
  readonly transport: GitTransport;
  /** User and password of an http URL, decoded; never shown. */
  readonly credentials: { readonly user: string; readonly password: string } | null;
  /** `https://host:port/`: where the credentials may be sent. */
  readonly scope: string | null;
  /** The URL that was named, when this one is spoken to in its place. */
  readonly insteadOf?: string;
}

const schemes: Readonly<Record<string, GitTransport>> = {
  'http:': 'http',
  'https:': 'http',
  'ssh:': 'ssh',
  'git+ssh:': 'ssh',
  'git:': 'git',
  'file:': 'local',
};
// `host:path` or `user@host:path`, but neither `helper::address` nor anything that a program could take for an option.
const scpForm = /^(?:[\w.+-]+@)?(?:[A-Za-z0-9][\w.-]*|\[[0-9A-Fa-f:.]+\]):(?!:|\/\/)./;

/**
 * @throws AgentError REPOSITORY_NOT_FOUND when it is no URL that git can be given safely
 */
export function parseGitUrl(text: string): GitUrl {
  const refuse = (why: string): AgentError =>
    new AgentError('REPOSITORY_NOT_FOUND', `${JSON.stringify(redactUrl(text))} ${why}`, {
      help: 'name a repository as https://…, ssh://…, user@host:path, file://… or an absolute path',
    });
  // biome-ignore lint/suspicious/noControlCharactersInRegex: control characters are what is looked for
  if (/[\u0000-\u001f\u007f]/.test(text)) throw refuse('holds control characters');
  if (text.startsWith('/') || text.startsWith('./') || text.startsWith('../'))
    return { url: text, transport: 'local', credentials: null, scope: null };
  if (/^[A-Za-z][\w+.-]*:\/\//.test(text)) {
    let parsed: URL;
    try {
      parsed = new URL(text);
    } catch {
      throw refuse('is not a URL');
    }
    const transport = schemes[parsed.protocol];
    if (transport === undefined) throw refuse('uses a transport that is not allowed');
    if (transport === 'local') return { url: text, transport, credentials: null, scope: null };
    if (parsed.hostname === '' || decode(parsed.hostname).startsWith('-') || decode(parsed.username).startsWith('-'))
      throw refuse('names no usable host');
    if (transport !== 'http')
      return { url: withoutUserinfo(text, (userinfo) => userinfo.split(':')[0] ?? ''), transport, credentials: null, scope: null };
    const credentials =
      parsed.username === '' && parsed.password === '' ? null : { user: decode(parsed.username), password: decode(parsed.password) };
    // biome-ignore lint/suspicious/noControlCharactersInRegex: control characters are what is looked for
    if (/[\u0000-\u001f\u007f]/.test(`${credentials?.user}${credentials?.password}`)) throw refuse('holds control characters');
    return { url: withoutUserinfo(text, () => ''), transport, credentials, scope: `${parsed.protocol}//${parsed.host}/` };
  }
  if (scpForm.test(text)) return { url: text, transport: 'ssh', credentials: null, scope: null };
  throw refuse('is not a repository URL');
}

/**
 * The URL to speak to in place of another: the longest prefix that ends where a part of the URL ends decides. Credentials
 * go along only when host and port stay the same; those of the replacement are its own.
 * @param prefixes URL prefix -> URL prefix (install.gitMirror)
 */
export function rewriteGitUrl(remote: GitUrl, prefixes: Readonly<Record<string, string>>): GitUrl {
  const matches = Object.keys(prefixes).filter((prefix) => {
    if (prefix === '' || !remote.url.startsWith(prefix)) return false;
    const next = remote.url[prefix.length];
    return /[/:]$/.test(prefix) || next === undefined || next === '/' || next === ':' || remote.url.slice(prefix.length) === '.git';
  });
  const [longest] = matches.sort((a, b) => b.length - a.length);
  if (longest === undefined) return remote;
  const found = parseGitUrl(`${prefixes[longest]}${remote.url.slice(longest.length)}`);
  const credentials = found.credentials ?? (found.scope !== null && found.scope === remote.scope ? remote.credentials : null);
  return { ...found, credentials, insteadOf: remote.url };
}

/**
 * A URL as it may be shown: no user or password (the user of ssh is no secret and stays), no values in its query.
 * Never throws: what is no URL comes back with anything like credentials masked.
 */
export function redactUrl(text: string): string {
  const isSsh = /^(git\+)?ssh:/i.test(text);
  return withoutUserinfo(text, (userinfo) => (isSsh ? (userinfo.split(':')[0] ?? '') : '')).replace(/([?&][\w.-]+=)[^&#\s]+/g, '$1***');
}

/** Masks credentials of every URL within a longer text, and the given secrets wherever they stand. */
export function redactGitText(text: string, secrets: readonly string[] = []): string {
  // Of the scheme only the end matters: with all of it, a long text of words and dots would be gone through once for each of them.
  let masked = text.replace(/([a-z0-9+.-]{0,31}:\/\/)([^/\s'"@]+)@/gi, (whole, scheme: string, userinfo: string) =>
    /ssh:\/\/$/i.test(scheme) && !userinfo.includes(':') ? whole : `${scheme}***@`,
  );
  for (const secret of secrets) if (secret.length >= 4) masked = masked.replaceAll(secret, '***');
  return masked;
}

function withoutUserinfo(text: string, keep: (userinfo: string) => string): string {
  // The userinfo ends at the last @ before the path, so a password may hold an unescaped one.
  return text.replace(/^([A-Za-z][\w+.-]*:\/\/)([^/?#\s]*)@/, (_, scheme: string, userinfo: string) => {
    const kept = keep(userinfo);
    return kept === '' ? scheme : `${scheme}${kept}@`;
  });
}

function decode(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}
