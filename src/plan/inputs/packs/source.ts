import { redactUrl } from '../../../domain/installation/git-url.ts';
import type { PackSource } from '../../../domain/installation/release.ts';
import { shown } from '../../text/problem.ts';
import { looksSecret } from '../../text/redact-config.ts';
import { readPackUrl } from './url.ts';

/** Where the tree of a pack comes from, as its entry says. */
interface PackOrigin {
  /** For people and for comparison; the git URL itself. */
  readonly url: string;
  readonly branch: string | null;
  readonly recursive: boolean;
  /** Absent: git. */
  readonly source?: PackSource;
}

type Entry = Readonly<Record<string, unknown>>;
export type Say = (key: string, message: string, fix: string) => null;

/** Keys that mean something for one kind of source only. */
const BELONGS: Readonly<Record<string, readonly string[]>> = {
  git: ['branch', 'commit', 'recursive', 'lfs'],
  archive: ['sha256'],
  registry: ['version'],
  directory: [],
};
const KIND_OF: Readonly<Record<string, keyof typeof BELONGS>> = {
  url: 'git',
  repositoryUrl: 'git',
  archive: 'archive',
  registry: 'registry',
  directory: 'directory',
};

const isGiven = (entry: Entry, key: string): boolean => entry[key] !== undefined && entry[key] !== null && entry[key] !== '';

/** @param warn what is understood all the same. @returns null when there are problems, which were said */
export function readPackSource(entry: Entry, name: string, say: Say, warn: Say): PackOrigin | null {
  const given = Object.keys(KIND_OF).filter((key) => isGiven(entry, key));
  const kinds = [...new Set(given.map((key) => KIND_OF[key] ?? 'git'))];
  const [kind] = kinds;
  if (kind === undefined) return say('url', 'it has no url', 'write "url": "https://…" (or "archive", "registry" or "directory")');
  if (kinds.length > 1) return say(given[1] ?? 'url', `it names several sources: ${given.join(', ')}`, 'keep one of them');
  let stray = false;
  for (const [owner, keys] of Object.entries(BELONGS)) {
    for (const key of keys) {
      if (owner === kind || !isGiven(entry, key) || entry[key] === false) continue;
      stray = true;
      say(key, `${key} means nothing for a pack from ${kind === 'git' ? 'a repository' : `"${kind}"`}`, 'remove it');
    }
  }
  const origin = readKind(kind, entry, given, name, say, warn);
  return stray ? null : origin;
}

function readKind(kind: string, entry: Entry, given: readonly string[], name: string, say: Say, warn: Say): PackOrigin | null {
  const [key = 'url', other] = given;
  const text = entry[key];
  if (typeof text !== 'string') return say(key, `${key}: found ${shown(text)}`, 'write text in quotes');
  if (other !== undefined && entry[other] !== text) return say(other, `url and repositoryUrl of ${name} differ`, 'remove one of them');
  if (kind === 'archive') return readArchive(text.trim(), entry['sha256'], say, warn);
  if (kind === 'registry') return readRegistry(text.trim(), entry['version'], say);
  if (kind === 'directory') return readDirectory(text, say);
  const url = readPackUrl(text, name);
  if (!url.ok) return say(key, url.problem.message, url.problem.fix);
  for (const { message, fix } of url.value.warnings) warn(key, message, fix);
  return { url: url.value.url, branch: url.value.branch, recursive: url.value.recursive };
}

const plain = (url: string, source: PackSource): PackOrigin => ({ url, branch: null, recursive: false, source });
const VARIABLE = /\$\{[A-Za-z_][A-Za-z0-9_]*\}/g;

/** Literal credentials, before the host or in the query; what names variables is none. */
function holdsSecret(url: string): boolean {
  const bare = new URL(url.replace(VARIABLE, ''));
  return (
    bare.username !== '' ||
    bare.password !== '' ||
    [...bare.searchParams].some(([name, value]) => value !== '' && (looksSecret(name) || /^(sig|signature|x-amz-.*)$/i.test(name)))
  );
}

function readArchive(url: string, digest: unknown, say: Say, warn: Say): PackOrigin | null {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: control characters are what is looked for
  const fault = !/^https?:\/\/[^/]+\/./i.test(url) || /[\u0000-\u0020\u007f]/.test(url) || !URL.canParse(url.replace(VARIABLE, 'x'));
  if (fault) return say('archive', `archive: found ${shown(redactUrl(url))}`, 'write "archive": "https://…/pack.zip"');
  if (holdsSecret(url))
    return say(
      'archive',
      'its archive holds a password or key, which would be stored in the release',
      // biome-ignore lint/suspicious/noTemplateCurlyInString: the syntax of the file
      'write variables: https://${USER}:${TOKEN}@…, ?token=${TOKEN}',
    );
  if (digest !== undefined && digest !== null && digest !== '' && !(typeof digest === 'string' && /^[0-9a-f]{64}$/i.test(digest)))
    return say('sha256', `sha256: found ${shown(digest)}`, 'write 64 hexadecimal digits, or leave it out');
  if (/^http:/i.test(url) && !digest)
    warn('archive', 'its archive uses http, which anybody on the way can change', 'write https://, or add sha256');
  return plain(redactUrl(url), { kind: 'archive', url, sha256: digest ? String(digest).toLowerCase() : null });
}

function readRegistry(id: string, version: unknown, say: Say): PackOrigin | null {
  if (!/^[A-Za-z0-9][\w.-]{0,99}$/.test(id))
    return say('registry', `registry: found ${shown(id)}`, 'write the id of the pack in the Comfy Registry');
  if (version !== undefined && version !== null && version !== '' && !(typeof version === 'string' && /^\d[\w.+-]{0,49}$/.test(version)))
    return say('version', `version: found ${shown(version)}`, 'write "1.2.3", or leave it out for the newest');
  return plain(`registry:${id}${version ? `@${version}` : ''}`, { kind: 'registry', id, version: version ? String(version) : null });
}

function readDirectory(path: string, say: Say): PackOrigin | null {
  const fix = 'write an absolute path, or one below the shared folder';
  // biome-ignore lint/suspicious/noControlCharactersInRegex: control characters are what is looked for
  if (/[\u0000-\u001f\u007f]/.test(path) || path.split('/').includes('..')) return say('directory', `directory: found ${shown(path)}`, fix);
  const clean = path
    .replace(/\/{2,}/g, '/')
    .replace(/(?<=.)\/$/, '')
    .replace(/^\.\/(?=.)/, '');
  if (clean === '/' || clean === '.') return say('directory', `directory: found ${shown(path)}`, fix);
  return plain(clean, { kind: 'directory', path: clean });
}
