import { isAgentError } from '../../../domain/errors/errors.ts';
import { type GitUrl, parseGitUrl } from '../../../domain/installation/git-url.ts';
import { splitWords } from '../../configuration/environment-values.ts';

/** What the `url` of a pack says: a URL, or a whole `git clone` command that somebody pasted. */
interface PackUrl {
  readonly url: string;
  /** From `-b`; null when the command names none. */
  readonly branch: string | null;
  readonly recursive: boolean;
  readonly warnings: readonly Remark[];
}

interface Remark {
  readonly message: string;
  readonly fix: string;
}

export type PackUrlResult = { readonly ok: true; readonly value: PackUrl } | { readonly ok: false; readonly problem: Remark };

/** Options of git clone that mean nothing here, with the number of words that follow them. */
const IGNORED_OPTIONS: Readonly<Record<string, number>> = {
  '--depth': 1,
  '--jobs': 1,
  '-j': 1,
  '--origin': 1,
  '-o': 1,
  '--single-branch': 0,
  '--no-single-branch': 0,
  '--quiet': 0,
  '-q': 0,
  '--progress': 0,
  '--verbose': 0,
  '-v': 0,
  '--no-tags': 0,
  '--filter': 1,
  '--shallow-submodules': 0,
};

const refuse = (message: string, fix: string): PackUrlResult => ({ ok: false, problem: { message, fix } });

/** @param name the pack's folder, to compare with the one that the command names */
export function readPackUrl(written: string, name: string): PackUrlResult {
  const command = /^\s*git\s+clone\s+/.exec(written)?.[0];
  if (command === undefined) return checked({ url: written.trim(), branch: null, recursive: false, warnings: [] });
  const words = splitWords(written.slice(command.length));
  if (words === null) return refuse('its url is a git clone command with an open quote', 'write the URL alone');
  const places: string[] = [];
  let branch: string | null = null;
  let recursive = false;
  for (let i = 0; i < words.length; i++) {
    const word = words[i] ?? '';
    const [option = '', inline] = word.startsWith('--') ? word.split(/=(.*)/s) : [word];
    if (word === '--') {
      places.push(...words.slice(i + 1));
      break;
    }
    if (!word.startsWith('-')) places.push(word);
    else if (option === '-b' || option === '--branch') branch = inline ?? words[++i] ?? null;
    else if (option === '--recursive' || option === '--recurse-submodules') recursive = true;
    else if (Object.hasOwn(IGNORED_OPTIONS, option)) i += inline === undefined ? (IGNORED_OPTIONS[option] ?? 0) : 0;
    else
      return refuse(
        `its url is a git clone command with the option ${option}`,
        'write the URL alone; branch, commit and recursive are keys of their own',
      );
  }
  const [url, directory, ...rest] = places;
  if (url === undefined || rest.length > 0)
    return refuse('its url is a git clone command that cannot be understood', 'write the URL alone');
  const warnings: Remark[] = [
    { message: 'its url begins with "git clone", which is left out', fix: `write "url": ${JSON.stringify(url)}` },
  ];
  const folder = directory
    ?.replace(/(?<!\/)\/+$/, '')
    .split('/')
    .at(-1);
  if (folder !== undefined && folder !== name && folder !== '.')
    warnings.push({
      message: `its url names the folder ${folder}, which is left out: name decides`,
      fix: `write "name": ${JSON.stringify(folder)} if that is meant`,
    });
  return checked({ url, branch, recursive, warnings });
}

const ALLOWED = 'write https://…, ssh://…, git@host:path, file://… or an absolute path';

/** Only what can be given to git safely, and what will be found there. */
function checked(value: PackUrl): PackUrlResult {
  const { url } = value;
  const page = /^(https?:\/\/[^/]+\/[^/]+\/[^/]+)\/(?:-\/)?(?:tree|blob|commit)\/([^/?#]+)/.exec(url);
  if (page !== null)
    return refuse(
      'its url is a page of the web site, not a repository',
      `write "url": "${page[1]}" and "branch" or "commit": "${page[2]}"`,
    );
  let parsed: GitUrl;
  try {
    parsed = parseGitUrl(url);
  } catch (error) {
    return refuse(`its url cannot be used: ${isAgentError(error) ? error.message : String(error)}`, ALLOWED);
  }
  if (parsed.transport === 'git') return refuse('its url uses git://, which nobody protects', 'write https:// instead');
  if (parsed.transport === 'local' && /^\.{1,2}\//.test(url)) return refuse('its url is a relative path', ALLOWED);
  if (parsed.credentials !== null)
    return refuse(
      'its url holds a user name or password, which would be stored in the release',
      'use git@host:path with SSH_KEY_FILE or CUT_PK_1..3',
    );
  const warnings = /^http:/i.test(url)
    ? [{ message: 'its url uses http, which anybody on the way can change', fix: 'write https://' }]
    : [];
  return { ok: true, value: { ...value, url: parsed.url, warnings: [...value.warnings, ...warnings] } };
}
