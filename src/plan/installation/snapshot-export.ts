/** A release as others record one (formats: reference peers-install.md, section 3.1). */
import type { PackStatus, Release } from '../../domain/installation/release.ts';
import type { SnapshotExport, SnapshotFormat } from '../../domain/installation/snapshot.ts';

const COMMIT = /^[0-9a-f]{40}$/;

/** What can be recorded of a pack elsewhere; null: nothing. */
type Recorded =
  | { readonly kind: 'git'; readonly url: string; readonly commit: string }
  | { readonly kind: 'registry'; readonly id: string; readonly version: string };

/** @param createdAt for the formats that record it, ISO-8601 */
export function exportRelease(release: Release, format: SnapshotFormat, createdAt: string): Omit<SnapshotExport, 'file'> {
  const leftOut: string[] = [];
  const packs: [PackStatus, Recorded][] = [];
  for (const pack of release.packs) {
    const recorded = recordOf(release, pack);
    if (typeof recorded === 'string') leftOut.push(`${pack.name}: ${recorded}`);
    else packs.push([pack, recorded]);
  }
  const commit = COMMIT.test(release.source.commit) ? release.source.commit : null;
  if (commit === null) leftOut.push('ComfyUI: it has no commit');
  leftOut.push(
    'the repository of ComfyUI, commits of submodules, digests of archives and packages: the format has no place for them (agent.lock.json has)',
  );
  const snapshot = format === 'manager' ? manager(release, commit, packs) : desktop(release, commit, packs, createdAt);
  return { format, release: release.id, snapshot, leftOut };
}

function recordOf(release: Release, pack: PackStatus): Recorded | string {
  if (pack.state === 'failed') return 'it failed and is not installed';
  const { source } = pack;
  const spec = release.spec.packs.find(({ name }) => name === pack.name)?.source;
  if (spec?.kind === 'registry' && source?.kind === 'archive' && source.version !== null)
    return { kind: 'registry', id: spec.id, version: source.version };
  if (source === null || source.kind === 'git')
    return pack.commit === null ? 'its commit is not known' : { kind: 'git', url: pack.url, commit: pack.commit };
  return source.kind === 'archive' ? 'it comes from an archive' : 'it comes from a directory of this machine';
}

function manager(release: Release, commit: string | null, packs: readonly (readonly [PackStatus, Recorded])[]): Record<string, unknown> {
  return {
    comfyui: commit ?? '',
    git_custom_nodes: Object.fromEntries(
      packs.flatMap(([, each]) => (each.kind === 'git' ? [[each.url, { hash: each.commit, disabled: false }]] : [])),
    ),
    cnr_custom_nodes: Object.fromEntries(packs.flatMap(([, each]) => (each.kind === 'registry' ? [[each.id, each.version]] : []))),
    file_custom_nodes: [],
    pips: Object.fromEntries(Object.entries(release.packages).map(([name, version]) => [`${name}==${version}`, ''])),
  };
}

function desktop(
  release: Release,
  commit: string | null,
  packs: readonly (readonly [PackStatus, Recorded])[],
  createdAt: string,
): Record<string, unknown> {
  return {
    type: 'comfyui-desktop-2-snapshot',
    version: 1,
    createdAt,
    trigger: 'manual',
    label: release.id,
    comfyui: {
      ref: release.source.branch ?? commit,
      commit,
      releaseTag: release.comfyuiVersion === null ? null : `v${release.comfyuiVersion}`,
    },
    customNodes: packs.map(([{ name }, each]) =>
      each.kind === 'git'
        ? { type: 'git', id: name, dirName: name, url: each.url, commit: each.commit, enabled: true }
        : { type: 'cnr', id: each.id, dirName: name, version: each.version, enabled: true },
    ),
    pipPackages: release.packages,
    pythonVersion: release.pythonVersion,
  };
}
