import { posix } from 'node:path';
import type { AgentError } from '../../domain/errors/errors.ts';
import { nearestName } from '../text/edit-distance.ts';
import { readJson } from '../text/positioned-text.ts';
import { type ProblemList, problemList, problemsError, shown, type TextProblem } from '../text/problem.ts';
import { isCommentKey } from './packs/entry.ts';

/** A model that lies in one place and is wanted in another, as static-models.json names it. */
interface StaticLink {
  readonly source: string;
  readonly target: string;
  readonly description: string | null;
  readonly line: number | null;
}

export type StaticModelsResult =
  | {
      readonly ok: true;
      readonly links: readonly StaticLink[];
      readonly noIndex: readonly { readonly path: string; readonly reason: string | null }[];
      readonly warnings: readonly TextProblem[];
    }
  | { readonly ok: false; readonly problems: readonly TextProblem[] };

const TOP_KEYS = ['symlinks', 'no_index'];

/** static-models.json: `{"symlinks":[{source,target,description}],"no_index":[{path,reason}]}`. */
export function readStaticModels(text: string, { path }: { readonly path: string }): StaticModelsResult {
  const read = readJson(text, { path, isComment: isCommentKey });
  if (!read.ok) return read;
  const { value, lineOf } = read.text;
  const list = problemList(path);
  if (value === null || typeof value !== 'object' || Array.isArray(value)) {
    list.problem(1, null, `found ${shown(value)}, where an object is expected`, 'write {"symlinks": [{"source": "…", "target": "…"}]}');
    return { ok: false, problems: list.problems };
  }
  for (const key of Object.keys(value)) checkKey(key, TOP_KEYS, { subject: null, line: lineOf([key]) }, list);
  const { symlinks, no_index: notIndexed } = value as Readonly<Record<string, unknown>>;
  const links = entries('symlinks', symlinks, ['source', 'target', 'description'], lineOf, list).flatMap(
    ({ record, subject, line }): StaticLink[] => {
      const source = required(record, 'source', subject, line, list);
      const target = required(record, 'target', subject, line, list);
      const description = typeof record['description'] === 'string' && record['description'] !== '' ? record['description'] : null;
      return source === null || target === null ? [] : [{ source, target, description, line }];
    },
  );
  const noIndex = entries('no_index', notIndexed, ['path', 'reason'], lineOf, list).flatMap(({ record, subject, line }) => {
    const found = required(record, 'path', subject, line, list);
    return found === null ? [] : [{ path: found, reason: typeof record['reason'] === 'string' ? record['reason'] : null }];
  });
  return list.problems.length > 0 ? { ok: false, problems: list.problems } : { ok: true, links, noIndex, warnings: list.warnings };
}

export const staticModelsError = (problems: readonly TextProblem[]): AgentError => problemsError('STATIC_MODELS_INVALID', problems);

interface Entry {
  readonly record: Readonly<Record<string, unknown>>;
  readonly subject: string;
  readonly line: number | null;
}

function entries(
  key: string,
  value: unknown,
  known: readonly string[],
  lineOf: (path: readonly (string | number)[]) => number | null,
  list: ProblemList,
): Entry[] {
  if (value === undefined || value === null) return [];
  if (!Array.isArray(value)) {
    list.problem(lineOf([key]), null, `${key}: found ${shown(value)}, where a list is expected`, `write "${key}": [ … ]`);
    return [];
  }
  return value.flatMap((item: unknown, index): Entry[] => {
    const subject = `${key} entry ${index + 1}`;
    const line = lineOf([key, index]);
    if (item === null || typeof item !== 'object' || Array.isArray(item)) {
      list.problem(
        line,
        subject,
        `found ${shown(item)}, where an object is expected`,
        `write {${known.map((name) => `"${name}": "…"`).join(', ')}}`,
      );
      return [];
    }
    for (const name of Object.keys(item)) checkKey(name, known, { subject, line: lineOf([key, index, name]) }, list);
    return [{ record: item as Readonly<Record<string, unknown>>, subject, line }];
  });
}

function checkKey(
  key: string,
  known: readonly string[],
  { subject, line }: { readonly subject: string | null; readonly line: number | null },
  list: ProblemList,
): void {
  if (known.includes(key) || isCommentKey(key)) return;
  const nearest = nearestName(key, known);
  if (nearest === null)
    list.warning(
      line,
      subject,
      `the key ${shown(key)} is not known and has no effect`,
      'remove it, or rename it to "//" if it is a comment',
    );
  else list.problem(line, subject, `there is no key ${shown(key)}`, `did you mean "${nearest}"?`);
}

function required(
  record: Readonly<Record<string, unknown>>,
  key: string,
  subject: string,
  line: number | null,
  list: ProblemList,
): string | null {
  const value = record[key];
  if (typeof value === 'string' && value.trim() !== '' && !value.includes('\0')) return value.trim();
  list.problem(line, subject, value === undefined ? `it has no ${key}` : `${key}: found ${shown(value)}`, `write "${key}": "…"`);
  return null;
}

export interface StaticPlaces {
  readonly root: string;
  readonly shared: string;
  /** The models directory, which may lie outside the root. */
  readonly models: string;
  readonly links: readonly StaticLink[];
  readonly exists: (path: string) => boolean;
}

export interface ResolvedLinks {
  /** Both absolute: `target` becomes a link to `source`. */
  readonly links: readonly { readonly source: string; readonly target: string; readonly description: string | null }[];
  /** Links that cannot be made yet, with the places that were looked at. */
  readonly missing: readonly { readonly source: string; readonly target: string; readonly tried: readonly string[] }[];
  /** Entries that lead out of the root, or contradict each other. */
  readonly refused: readonly { readonly source: string; readonly target: string; readonly line: number | null; readonly reason: string }[];
}

/**
 * Both readings that the predecessor's programs had of these paths, in one rule:
 *
 * | written                           | source is looked for at, in order                            | target is            |
 * |-----------------------------------|--------------------------------------------------------------|----------------------|
 * | `loras/a.pt`                      | `<shared>/sd_models/loras/a.pt`, `<root>/…`, `<shared>/…`    | `<models>/loras/a.pt` |
 * | `models/loras/a.pt`               | the same                                                     | `<models>/loras/a.pt` |
 * | `ComfyUI/models/loras/a.pt`       | the same, then `<models>/loras/a.pt`                         | `<models>/loras/a.pt` |
 * | `shared/models/loras/a.pt`        | the same                                                     | `<models>/loras/a.pt` |
 * | `shared/x/a.pt`                   | the same                                                     | `<shared>/x/a.pt`    |
 * | absolute, below root or models    | itself                                                       | itself               |
 * | absolute elsewhere, or with `..`  | refused                                                      | refused              |
 */
export function resolveStaticModels({ root, shared, models, links, exists }: StaticPlaces): ResolvedLinks {
  const made = new Map<string, { readonly source: string; readonly target: string; readonly description: string | null }>();
  const missing: ResolvedLinks['missing'][number][] = [];
  const refused: ResolvedLinks['refused'][number][] = [];
  const isWithin = (path: string, directory: string): boolean => path.startsWith(`${directory}/`);
  const isOurs = (path: string): boolean => [root, shared, models].some((directory) => isWithin(path, directory));
  const escapes = (path: string): boolean => path.split('/').includes('..');

  const targetOf = (written: string): string | null => {
    if (written.startsWith('/')) {
      const path = posix.normalize(written);
      return isWithin(path, shared) || isWithin(path, models) ? path : null;
    }
    const below = /^(?:(?:shared|ComfyUI)\/)?models\/(.+)$/.exec(written)?.[1];
    if (below !== undefined) return posix.join(models, below);
    const inShared = /^shared\/(.+)$/.exec(written)?.[1];
    if (inShared !== undefined) return posix.join(shared, inShared);
    return written.startsWith('ComfyUI/') ? null : posix.join(models, written);
  };
  const candidates = (written: string): string[] => {
    if (written.startsWith('/')) return [posix.normalize(written)];
    const inCheckout = /^ComfyUI\/models\/(.+)$/.exec(written)?.[1];
    return [
      posix.join(shared, 'sd_models', written),
      posix.join(root, written),
      posix.join(shared, written),
      ...(inCheckout === undefined ? [] : [posix.join(models, inCheckout)]),
    ];
  };

  for (const link of links) {
    const { description, line } = link;
    const source = plain(link.source);
    const wanted = plain(link.target);
    const refuse = (reason: string): number => refused.push({ source: link.source, target: link.target, line, reason });
    if (escapes(source) || escapes(wanted)) {
      refuse('".." is not allowed in it');
      continue;
    }
    const target = targetOf(wanted);
    const tried = candidates(source);
    if (target === null) refuse('its target lies neither in the shared folder nor in the models directory');
    else if (source.startsWith('/') && !isOurs(posix.normalize(source))) refuse('its source lies outside the root');
    else {
      const found = tried.find((path) => path !== target && exists(path));
      const before = made.get(target);
      if (found === undefined) missing.push({ source: link.source, target, tried });
      else if (before !== undefined && before.source !== found) refuse(`its target is already a link to ${before.source}`);
      else made.set(target, { source: found, target, description });
    }
  }
  return { links: [...made.values()], missing, refused };
}

/** `./a//b/` and `a/b` are the same entry. */
const plain = (path: string): string =>
  path
    .replace(/\/{2,}/g, '/')
    .replace(/^(\.\/)+/, '')
    .replace(/(?<=^\/|[^/])\/+$/, '');
