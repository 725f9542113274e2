/** Snapshots of others to entries of config_nodes.json (formats: reference peers-install.md, section 3.1). */
import { redactUrl } from '../../domain/installation/git-url.ts';
import type { SnapshotFormat, SnapshotImport, SnapshotPack } from '../../domain/installation/snapshot.ts';
import { readPackUrl } from '../inputs/packs/url.ts';
import { readYaml } from '../text/positioned-text.ts';
import { problemList, problemsError, type TextProblem } from '../text/problem.ts';

/** Neither format records the repository of ComfyUI. */
const OFFICIAL = 'https://github.com/comfyanonymous/ComfyUI.git';
const COMMIT = /^[0-9a-f]{7,40}$/i;
const VERSION = /^\d[\w.+-]{0,49}$/;
const REGISTRY_ID = /^[A-Za-z0-9][\w.-]{0,99}$/;

export type SnapshotReading =
  | ({ readonly ok: true } & Omit<SnapshotImport, 'written' | 'settings'>)
  | { readonly ok: false; readonly problems: readonly TextProblem[] };

/** Makes the AgentError of a snapshot's problems. */
export const snapshotError = (problems: readonly TextProblem[]) => problemsError('SNAPSHOT_INVALID', problems);

type Fields = Readonly<Record<string, unknown>>;
const isFields = (value: unknown): value is Fields => value !== null && typeof value === 'object' && !Array.isArray(value);
const wordOf = (value: unknown): string | null => (typeof value === 'string' && value.trim() !== '' ? value.trim() : null);

/** One pack as either format records it. */
interface Recorded {
  readonly label: string;
  readonly folder: string | null;
  readonly url: string | null;
  readonly commit: string | null;
  readonly registry: string | null;
  readonly version: string | null;
  readonly enabled: boolean;
}

/** JSON, or the YAML form of Manager. */
export function readSnapshot(text: string, path: string): SnapshotReading {
  const read = readYaml(text, { path });
  if (!read.ok) return read;
  const root = read.text.value;
  const list = problemList(path);
  const desktop = isFields(root) ? desktopBody(root) : null;
  if (desktop !== null) return desktopSnapshot(desktop);
  const body = isFields(root) && isFields(root['custom_nodes']) ? { ...root, ...root['custom_nodes'] } : root;
  if (isFields(body) && ['git_custom_nodes', 'cnr_custom_nodes', 'comfyui'].some((key) => key in body)) return managerSnapshot(body);
  list.problem(null, null, 'it is no snapshot of ComfyUI-Manager or Comfy Desktop', 'name a file with "git_custom_nodes" or "customNodes"');
  return { ok: false, problems: list.problems };
}

/** The snapshot itself, or the (last) one inside an export. */
function desktopBody(root: Fields): Fields | null {
  if (Array.isArray(root['customNodes'])) return root;
  const inside = Array.isArray(root['snapshots']) ? root['snapshots'].at(-1) : root['snapshot'];
  return isFields(inside) && Array.isArray(inside['customNodes']) ? inside : null;
}

function managerSnapshot(body: Fields): SnapshotReading {
  const leftOut: string[] = [];
  const git = Object.entries(isFields(body['git_custom_nodes']) ? body['git_custom_nodes'] : {}).map(([url, facts]): Recorded => {
    const { hash, disabled } = isFields(facts) ? facts : {};
    return { label: redactUrl(url), folder: null, url, commit: wordOf(hash), registry: null, version: null, enabled: disabled !== true };
  });
  const registry = Object.entries(isFields(body['cnr_custom_nodes']) ? body['cnr_custom_nodes'] : {}).map(
    ([id, version]): Recorded => ({
      label: id,
      folder: id,
      url: null,
      commit: null,
      registry: id,
      version: wordOf(version),
      enabled: true,
    }),
  );
  for (const file of Array.isArray(body['file_custom_nodes']) ? body['file_custom_nodes'] : [])
    leftOut.push(`${(isFields(file) ? wordOf(file['filename']) : null) ?? 'a file'}: a single file without a source`);
  const packages = isFields(body['pips']) ? Object.keys(body['pips']).length : 0;
  return assemble('manager', wordOf(body['comfyui']), [...git, ...registry], packages, null, leftOut);
}

function desktopSnapshot(body: Fields): SnapshotReading {
  const leftOut: string[] = [];
  const recorded: Recorded[] = [];
  for (const node of body['customNodes'] as readonly unknown[]) {
    if (!isFields(node)) continue;
    const folder = wordOf(node['dirName']);
    const id = wordOf(node['id']);
    const label = folder ?? id ?? 'a pack';
    const type = wordOf(node['type']);
    if (type !== 'git' && type !== 'cnr') {
      leftOut.push(`${label}: a single file without a source`);
      continue;
    }
    recorded.push({
      label,
      folder,
      url: type === 'git' ? wordOf(node['url']) : null,
      commit: type === 'git' ? wordOf(node['commit']) : null,
      registry: type === 'cnr' ? id : null,
      version: type === 'cnr' ? wordOf(node['version']) : null,
      enabled: node['enabled'] !== false,
    });
  }
  const comfyui = isFields(body['comfyui']) ? body['comfyui'] : {};
  const packages = isFields(body['pipPackages']) ? Object.keys(body['pipPackages']).length : 0;
  return assemble('desktop', wordOf(comfyui['commit']), recorded, packages, wordOf(body['pythonVersion']), leftOut);
}

function assemble(
  format: SnapshotFormat,
  core: string | null,
  recorded: readonly Recorded[],
  packages: number,
  python: string | null,
  leftOut: string[],
): SnapshotReading {
  const commit = core !== null && COMMIT.test(core) ? core.toLowerCase() : null;
  const packs: SnapshotPack[] = [];
  const names = new Set<string>();
  for (const each of recorded) {
    const pack = toPack(each, names);
    if (typeof pack === 'string') leftOut.push(`${each.label}: ${pack}`);
    else {
      packs.push(pack);
      names.add(pack.name);
    }
  }
  const unpinned = packs.filter((pack) => pack.commit === undefined && pack.version === undefined).map(({ name }) => name);
  const filledIn = [
    `the repository of ComfyUI: ${OFFICIAL} (set comfyui.repository for a fork)`,
    ...(commit === null ? ['the commit of ComfyUI: the newest is taken'] : []),
    ...(packs.some(({ url }) => url !== undefined) ? ['submodules: fetched for every git pack, at the commits that the pack names'] : []),
    ...(packs.some(({ registry }) => registry !== undefined)
      ? ['digests of registry archives: computed by the next installation and kept in agent.lock.json']
      : []),
    ...(unpinned.length > 0 ? [`versions of ${unpinned.join(', ')}: the newest are taken`] : []),
    ...(packages > 0 ? [`hashes of ${packages} Python packages: they are resolved anew for all packs together, not taken over`] : []),
    ...(python === null ? [] : [`Python ${python}: the interpreter of this machine is used (python.version chooses another)`]),
  ];
  return { ok: true, format, comfyui: { repository: OFFICIAL, commit }, packs, filledIn, leftOut };
}

/** @returns the entry, or why there is none */
function toPack(each: Recorded, taken: ReadonlySet<string>): SnapshotPack | string {
  if (!each.enabled) return 'it is disabled';
  if (each.registry !== null) {
    if (!REGISTRY_ID.test(each.registry)) return 'its registry id is not valid';
    const version = each.version !== null && VERSION.test(each.version) ? { version: each.version } : {};
    return { name: freeName(each.folder ?? each.registry, each.registry, taken), registry: each.registry, ...version };
  }
  if (each.url === null) return 'it has neither a URL nor a registry id';
  const url = readPackUrl(each.url, '');
  if (!url.ok) return url.problem.message;
  const parts = url.value.url
    .replace(/(?<!\/)\/+$/, '')
    .replace(/\.git$/i, '')
    .split(/[/:]/);
  const last = parts.at(-1) ?? '';
  const name = freeName(each.folder ?? last, `${parts.at(-2) ?? 'pack'}-${last}`, taken);
  const commit = each.commit !== null && COMMIT.test(each.commit) ? { commit: each.commit.toLowerCase() } : {};
  return { name, url: url.value.url, ...commit, recursive: true };
}

/** A folder name that config_nodes.json takes and nobody has yet. */
function freeName(wanted: string, other: string, taken: ReadonlySet<string>): string {
  const plain = (text: string): string =>
    text
      .replace(/[^\w.+ -]+/g, '-')
      .replace(/^[.\s-]+|\s+$/g, '')
      .replace(/\.disabled$/, '')
      .slice(0, 100) || 'pack';
  for (const candidate of [plain(wanted), plain(other)]) if (!taken.has(candidate)) return candidate;
  let number = 2;
  while (taken.has(`${plain(other)}-${number}`)) number += 1;
  return `${plain(other)}-${number}`;
}
