import type { AgentError } from '../../domain/errors/errors.ts';
import type { PackSpec } from '../../domain/installation/release.ts';
import { nearestName } from '../text/edit-distance.ts';
import { readJson } from '../text/positioned-text.ts';
import { problemList, problemsError, shown, type TextProblem } from '../text/problem.ts';
import { isCommentKey, type ReadPack, readPackEntry } from './packs/entry.ts';

export interface ConfigNodesOptions {
  /** For messages. */
  readonly path: string;
  /** Only these packs (`packs.names`, COMFYUI_CUSTOM_NODES); null: all. */
  readonly names: readonly string[] | null;
  /** Every unknown key is a problem, not only those that look like a known one. */
  readonly strict?: boolean;
}

export type ConfigNodesResult =
  | { readonly ok: true; readonly packs: readonly PackSpec[]; readonly warnings: readonly TextProblem[] }
  | { readonly ok: false; readonly problems: readonly TextProblem[] };

/** More packs than any machine has; a larger list is another kind of file. */
const MAX_PACKS = 1_000;
const TOP_KEY = 'custom_nodes';

/**
 * config_nodes.json with all its quirks (reference comfyui.md section 8), ironed out. The order is that of the file, or in
 * the API form `install_order` (null last), then the name.
 */
export function readConfigNodes(text: string, { path, names, strict = false }: ConfigNodesOptions): ConfigNodesResult {
  const read = readJson(text, { path, isComment: isCommentKey });
  if (!read.ok) return read;
  const { value, lineOf } = read.text;
  const list = problemList(path);
  const top = entriesOf(value);
  if ('problem' in top) {
    list.problem(lineOf([]), null, top.problem, `write {"${TOP_KEY}": [ … ]}`);
    return { ok: false, problems: list.problems };
  }
  for (const key of top.otherKeys)
    list.warning(
      lineOf([key]),
      null,
      `the key ${shown(key)} is not known and has no effect`,
      'remove it, or rename it to "//" if it is a comment',
    );
  if (top.entries.length > MAX_PACKS) list.problem(lineOf([]), null, `it has ${top.entries.length} entries, more than ${MAX_PACKS}`);
  else {
    const packs = top.entries.flatMap((entry, index) => {
      const pack = readPackEntry({ value: entry, index, strict, lineOf: (...keys) => lineOf([...top.prefix, index, ...keys]) }, list);
      return pack === null ? [] : [pack];
    });
    const unique = withoutRepeats(packs, list);
    const chosen = choose(unique, names, top.entries, list);
    if (list.problems.length === 0) return { ok: true, packs: ordered(chosen).map(({ spec }) => spec), warnings: list.warnings };
  }
  return { ok: false, problems: list.problems };
}

/** @throws nothing; makes the AgentError CONFIG_NODES_INVALID of a file's problems */
export const configNodesError = (problems: readonly TextProblem[]): AgentError => problemsError('CONFIG_NODES_INVALID', problems);

type Entries = { readonly entries: readonly unknown[]; readonly prefix: readonly string[]; readonly otherKeys: readonly string[] };

/** The list lies below `custom_nodes`; the API answers with the bare list. */
function entriesOf(value: unknown): Entries | { readonly problem: string } {
  if (Array.isArray(value)) return { entries: value, prefix: [], otherKeys: [] };
  if (value === null || typeof value !== 'object') return { problem: `found ${shown(value)}, where an object is expected` };
  const keys = Object.keys(value);
  if (!keys.includes(TOP_KEY)) {
    const nearest = keys.find((key) => nearestName(key, [TOP_KEY]) !== null);
    return { problem: `there is no key "${TOP_KEY}"${nearest === undefined ? '' : `, only ${shown(nearest)}`}` };
  }
  const entries = (value as Readonly<Record<string, unknown>>)[TOP_KEY];
  if (!Array.isArray(entries)) return { problem: `${TOP_KEY}: found ${shown(entries)}, where a list is expected` };
  return { entries, prefix: [TOP_KEY], otherKeys: keys.filter((key) => key !== TOP_KEY && !isCommentKey(key)) };
}

function withoutRepeats(packs: readonly ReadPack[], list: ReturnType<typeof problemList>): ReadPack[] {
  const byName = new Map<string, ReadPack>();
  const byUrl = new Map<string, ReadPack>();
  for (const pack of packs) {
    const { name, url } = pack.spec;
    const sameName = byName.get(name);
    const plainUrl = url.toLowerCase().replace(/(\.git)?(?<!\/)\/*$/, '');
    const sameUrl = byUrl.get(plainUrl);
    if (sameName !== undefined)
      list.problem(pack.line, `pack ${name}`, `the name stands twice, in lines ${sameName.line} and ${pack.line}`, 'remove one of them');
    else if (sameUrl !== undefined)
      list.warning(
        pack.line,
        `pack ${name}`,
        `it has the same url as pack ${sameUrl.spec.name} (line ${sameUrl.line})`,
        'remove one of them',
      );
    byName.set(name, sameName ?? pack);
    byUrl.set(plainUrl, sameUrl ?? pack);
  }
  return [...byName.values()];
}

function choose(
  packs: readonly ReadPack[],
  names: readonly string[] | null,
  entries: readonly unknown[],
  list: ReturnType<typeof problemList>,
): ReadPack[] {
  if (names === null) return [...packs];
  const known = entries.flatMap((entry) =>
    entry !== null && typeof entry === 'object' && 'name' in entry && typeof entry.name === 'string' ? [entry.name] : [],
  );
  for (const name of new Set(names)) {
    if (known.includes(name)) continue;
    const nearest = nearestName(name, known);
    const fix =
      nearest === null
        ? 'correct COMFYUI_CUSTOM_NODES or packs.names'
        : `did you mean ${nearest}? Correct COMFYUI_CUSTOM_NODES or packs.names`;
    list.problem(null, null, `it has no pack ${shown(name)}, which COMFYUI_CUSTOM_NODES (packs.names) asks for`, fix);
  }
  return packs.filter(({ spec }) => names.includes(spec.name));
}

function ordered(packs: readonly ReadPack[]): readonly ReadPack[] {
  if (!packs.some(({ hasOrder }) => hasOrder)) return packs;
  const byName = (a: string, b: string): number => (a < b ? -1 : a > b ? 1 : 0);
  return packs.toSorted(
    (a, b) => (a.order ?? Number.POSITIVE_INFINITY) - (b.order ?? Number.POSITIVE_INFINITY) || byName(a.spec.name, b.spec.name),
  );
}
