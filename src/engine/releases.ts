import type { ReleasesDocument } from '../domain/agent.ts';
import type { Layout } from '../domain/config.ts';
import { Release } from '../domain/release.ts';
import type { Files } from '../ports.ts';
import { parseJson } from './state-files.ts';

/** What `current` names, and why it cannot be used if it cannot. */
export interface CurrentRelease {
  readonly release: Release | null;
  readonly problem: string | null;
}

export const releaseDirectory = (layout: Layout, id: string): string => `${layout.releases}/${id}`;

export async function readRelease(files: Files, layout: Layout, id: string): Promise<Release | null> {
  const text = await files.readText(`${releaseDirectory(layout, id)}/release.json`);
  if (text === null) return null;
  const parsed = Release.safeParse(parseJson(text));
  return parsed.success ? parsed.data : null;
}

/** Reads `current` and looks whether the release is whole: a handful of file checks, a few milliseconds. */
export async function readCurrent(files: Files, layout: Layout): Promise<CurrentRelease> {
  const target = await files.readLink(layout.current);
  if (target === null) return { release: null, problem: null };
  const id = target.split('/').at(-1) ?? '';
  const release = await readRelease(files, layout, id);
  if (release === null) return { release: null, problem: `release ${id} is not whole: release.json is missing or damaged` };
  const directory = releaseDirectory(layout, id);
  const needed = [`${directory}/${release.python}`, `${directory}/ComfyUI/main.py`];
  for (const pack of release.packs) {
    if (pack.state !== 'failed') needed.push(`${directory}/ComfyUI/custom_nodes/${pack.name}`);
  }
  const present = await Promise.all(needed.map((path) => files.exists(path)));
  const gone = needed.filter((_, index) => !present[index]);
  return { release, problem: gone.length === 0 ? null : `release ${id} is not whole: ${gone[0]} is missing` };
}

export async function listReleases(files: Files, layout: Layout, withSizes: boolean): Promise<ReleasesDocument> {
  const target = await files.readLink(layout.current);
  const current = target?.split('/').at(-1) ?? null;
  const ids = (await files.list(layout.releases)).filter((name) => !name.startsWith('.')).sort();
  const releases = await Promise.all(
    ids.map(async (id) => {
      const release = await readRelease(files, layout, id);
      return {
        id,
        complete: release !== null,
        current: id === current,
        release,
        sizeBytes: withSizes ? await files.treeSize(releaseDirectory(layout, id)) : null,
      };
    }),
  );
  return { current, releases };
}

/** Removes old releases beyond `keep`, oldest first; never the current one, and none that an instance runs from. */
export async function collectReleases(files: Files, layout: Layout, keep: number, inUse: ReadonlySet<string>): Promise<readonly string[]> {
  const { current, releases } = await listReleases(files, layout, false);
  const whole = releases.filter((release) => release.complete).map((release) => release.id);
  const surplus = whole.slice(0, Math.max(0, whole.length - keep)).filter((id) => id !== current && !inUse.has(id));
  for (const id of surplus) {
    await files.remove(releaseDirectory(layout, id));
    await files.remove(`${layout.cache}/pycache/${id}`);
  }
  return surplus;
}
