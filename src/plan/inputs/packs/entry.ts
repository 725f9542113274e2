import type { PackSpec } from '../../../domain/installation/release.ts';
import { branchFault } from '../../configuration/checks.ts';
import { nearestName } from '../../text/edit-distance.ts';
import { type ProblemList, shown } from '../../text/problem.ts';
import { ownerOfName } from '../reserved-names.ts';
import { readPackSource, type Say } from './source.ts';

/** One entry of `custom_nodes`, with where it stands. */
export interface PackEntry {
  readonly value: unknown;
  readonly index: number;
  /** Line of the entry or of one of its keys. */
  readonly lineOf: (...keys: readonly string[]) => number | null;
  /** Every unknown key is a problem. */
  readonly strict: boolean;
}

const KEYS = [
  'name',
  'url',
  'repositoryUrl',
  'archive',
  'sha256',
  'registry',
  'version',
  'directory',
  'requirements',
  'recursive',
  'branch',
  'commit',
  'lfs',
  'env',
  'custom_script',
  'install_order',
  'is_default',
];
/** Keys that people write for people. */
const COMMENTS =
  /^(\/\/|#|_|\$)|^(comments?|description|notes?|author|title|reference|homepage|id|files|tags|install_type|created_at|updated_at|createdAt|updatedAt)$/i;
export const isCommentKey = (key: string): boolean => COMMENTS.test(key);

export interface ReadPack {
  readonly spec: PackSpec;
  /** `install_order` of the API form; null or absent comes last. */
  readonly order: number | null;
  readonly hasOrder: boolean;
  readonly line: number | null;
}

/** @returns null when the entry has problems, which are then in the list */
export function readPackEntry(entry: PackEntry, list: ProblemList): ReadPack | null {
  const { value, lineOf } = entry;
  const before = list.problems.length;
  if (value === null || typeof value !== 'object' || Array.isArray(value)) {
    list.problem(
      lineOf(),
      `entry ${entry.index + 1}`,
      `found ${shown(value)}, where a pack is expected`,
      'write {"name": "…", "url": "https://…", "requirements": true}',
    );
    return null;
  }
  const pack = value as Readonly<Record<string, unknown>>;
  const subject =
    typeof pack['name'] === 'string' && pack['name'] !== '' ? `pack ${shown(pack['name']).slice(1, -1)}` : `entry ${entry.index + 1}`;
  const say = (key: string, message: string, fix: string): null => {
    list.problem(lineOf(key), subject, message, fix);
    return null;
  };
  checkKeys(entry, pack, subject, list);

  const name = readName(pack, say);
  const warn = (key: string, message: string, fix: string): null => {
    list.warning(lineOf(key), subject, message, fix);
    return null;
  };
  const origin = readPackSource(pack, name ?? '', say, warn);

  const flag = (key: string, absent: boolean): boolean => {
    const found = pack[key];
    if (found === undefined || found === null) return absent;
    if (typeof found === 'boolean') return found;
    if (found === 'true' || found === 'false') {
      list.warning(lineOf(key), subject, `${key} is the text ${shown(found)}`, `write ${found} without quotes`);
      return found === 'true';
    }
    say(key, `${key}: found ${shown(found)}`, 'write true or false');
    return absent;
  };
  const words = (key: string): string | null => {
    const found = pack[key];
    if (found === undefined || found === null || found === '') return null;
    return typeof found === 'string' ? found : say(key, `${key}: found ${shown(found)}`, 'write text in quotes');
  };

  const requirements = flag('requirements', true);
  const recursive = flag('recursive', false);
  const lfs = flag('lfs', false);
  flag('is_default', true);
  const branch = words('branch')?.trim() ?? null;
  const branchProblem = branch === null ? null : branchFault(branch);
  if (branchProblem !== null) say('branch', `branch: ${branchProblem}`, 'write the name of a branch or tag');
  const commit = words('commit')?.trim() ?? null;
  if (commit !== null && !/^[0-9a-f]{7,40}$/i.test(commit))
    say('commit', `commit: found ${shown(commit)}`, 'write 7 to 40 hexadecimal digits; a branch or tag goes into "branch"');
  const customScript = words('custom_script');
  const env = readEnv(entry, pack, subject, list);
  const order = pack['install_order'] ?? null;
  if (order !== null && typeof order !== 'number') say('install_order', `install_order: found ${shown(order)}`, 'write a number or null');
  if (origin !== null && origin.branch !== null && branch !== null && origin.branch !== branch) {
    say('branch', `branch is ${shown(branch)}, but the git clone command of url names ${shown(origin.branch)}`, 'write the URL alone');
  }
  if (list.problems.length > before || name === null || origin === null) return null;
  return {
    spec: {
      name,
      url: origin.url,
      branch: branch ?? origin.branch,
      commit,
      recursive: recursive || origin.recursive,
      ...(lfs ? { lfs } : {}),
      ...(origin.source === undefined ? {} : { source: origin.source }),
      requirements,
      env,
      customScript,
    },
    order: typeof order === 'number' ? order : null,
    hasOrder: 'install_order' in pack,
    line: lineOf('name'),
  };
}

function checkKeys({ strict, lineOf }: PackEntry, pack: Readonly<Record<string, unknown>>, subject: string, list: ProblemList): void {
  for (const key of Object.keys(pack)) {
    if (KEYS.includes(key) || isCommentKey(key)) continue;
    const nearest = nearestName(key, KEYS);
    if (nearest !== null) list.problem(lineOf(key), subject, `there is no key ${shown(key)}`, `did you mean "${nearest}"?`);
    else if (strict)
      list.problem(lineOf(key), subject, `there is no key ${shown(key)}`, `known are ${KEYS.join(', ')}; comments go into "//"`);
    else
      list.warning(
        lineOf(key),
        subject,
        `the key ${shown(key)} is not known and has no effect`,
        'remove it, or rename it to "//" if it is a comment',
      );
  }
}

function readName(pack: Readonly<Record<string, unknown>>, say: Say): string | null {
  const name = pack['name'];
  if (name === undefined || name === null || name === '')
    return say('name', 'it has no name', 'write "name": the folder below custom_nodes');
  if (typeof name !== 'string') return say('name', `name: found ${shown(name)}`, 'write text in quotes');
  const fix = 'write the plain name of a folder';
  if (/[/\\]/.test(name)) return say('name', `name ${shown(name)} holds a path separator`, fix);
  if (/^[.-]/.test(name)) return say('name', `name ${shown(name)} begins with ${name[0]}`, fix);
  if (/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/u.test(name) || name !== name.trim() || Buffer.byteLength(name) > 200)
    return say('name', `name ${visible(shown(name))} cannot be the name of a folder`, fix);
  if (name.endsWith('.disabled') || name === '__pycache__')
    return say('name', `name ${shown(name)}: ComfyUI does not load packs from such a folder`, fix);
  return name;
}

function readEnv(
  { lineOf }: PackEntry,
  pack: Readonly<Record<string, unknown>>,
  subject: string,
  list: ProblemList,
): Record<string, string> {
  const env = pack['env'];
  if (env === undefined || env === null) return {};
  if (typeof env !== 'object' || Array.isArray(env)) {
    // biome-ignore lint/suspicious/noTemplateCurlyInString: the syntax of the file
    list.problem(lineOf('env'), subject, `env: found ${shown(env)}`, 'write {"NAME": "${VARIABLE}"}');
    return {};
  }
  const entries: [string, string][] = [];
  for (const [name, value] of Object.entries(env)) {
    const line = lineOf('env', name);
    if (!/^[A-Za-z_][A-Za-z0-9_]*$/.test(name))
      list.problem(line, subject, `env: ${shown(name)} cannot be the name of a variable`, 'use letters, digits and _');
    else if (ownerOfName(name) !== null)
      list.problem(line, subject, `env: ${name} is not for a pack to set: it changes how ${ownerOfName(name)} works`, 'remove it');
    else if (typeof value === 'string') {
      if (/\$(?!\{[A-Za-z_][A-Za-z0-9_]*\})[{(A-Za-z_]/.test(value))
        list.warning(line, subject, `env: ${name} is kept as written, because only \${NAME} is replaced`, `write ${name}: "\${NAME}"`);
      entries.push([name, value]);
    } else if (typeof value === 'number' || typeof value === 'boolean') {
      list.warning(line, subject, `env: ${name} is ${shown(value)}, taken as text`, 'write it in quotes');
      entries.push([name, String(value)]);
    } else if (value === null) {
      list.warning(line, subject, `env: ${name} is null, taken as empty`, 'write "" or a value');
      entries.push([name, '']);
    } else list.problem(line, subject, `env: ${name} is no text`, 'write text in quotes');
  }
  return Object.fromEntries(entries);
}

/** What moves the cursor or is not seen, as its number. */
const visible = (text: string): string =>
  text.replace(/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/gu, (character) => `\\u${(character.codePointAt(0) ?? 0).toString(16).padStart(4, '0')}`);
