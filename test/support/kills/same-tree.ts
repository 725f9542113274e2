import { createHash } from 'node:crypto';
import { lstat, readdir, readFile, readlink, realpath } from 'node:fs/promises';
import { basename, join } from 'node:path';

/** Notes that uv leaves beside a package: where it came from, and what it was built from. */
const NOTES = /(?:direct_url|uv_cache|uv_build)\.json$/;

/** Parts of a release in which two machines may differ, and why. */
const EXCEPTIONS: readonly (readonly [path: RegExp, why: string])[] = [
  [/(^|\/)\.git(\/|$)/, 'git packs objects and dates its index as it likes; commits are compared by the lock'],
  [/^(release|failed)\.json$/, 'times and durations'],
];

/**
 * Every file of a release by its path: the sha256 of its content with the root and the release's own id taken out (scripts
 * and links of a virtual environment hold whole paths), its mode, or where a link leads.
 */
export async function treeOf(root: string): Promise<ReadonlyMap<string, string>> {
  const release = await realpath(join(root, 'current'));
  const withoutPlace = (text: string): string => text.replaceAll(basename(release), 'RELEASE').replaceAll(root, 'ROOT');
  const tree = new Map<string, string>();
  for (const path of (await readdir(release, { recursive: true })).sort()) {
    if (EXCEPTIONS.some(([exception]) => exception.test(path))) continue;
    const facts = await lstat(join(release, path));
    if (facts.isSymbolicLink()) tree.set(path, `-> ${withoutPlace(await readlink(join(release, path)))}`);
    else if (facts.isFile()) {
      const text = withoutPlace(await readFile(join(release, path), 'latin1'));
      // RECORD has the digests of those scripts.
      const compared = path.endsWith('/RECORD')
        ? text.replace(/^\.\.\/.*$/gm, '').replace(/^.*(?:direct_url|uv_cache|uv_build)\.json,.*\n?/gm, '')
        : text;
      tree.set(path, `${(facts.mode & 0o777).toString(8)} ${createHash('sha256').update(compared, 'latin1').digest('hex')}`);
    }
  }
  return tree;
}

export interface Comparison {
  /** Files and links that are the same. */
  readonly same: number;
  /** `path: how it differs`, of what nothing explains. */
  readonly different: readonly string[];
  /** Differences that are meant to be. */
  readonly explained: readonly string[];
}

/**
 * A release that was installed from the network beside one from a bundle. There a package from a repository comes as a
 * wheel that was built before, so uv has nothing to note about where it came from.
 */
export async function compareReleases(network: string, bundle: string): Promise<Comparison> {
  const [one, two] = [await treeOf(network), await treeOf(bundle)];
  const [different, explained]: [string[], string[]] = [[], []];
  let same = 0;
  for (const path of [...new Set([...one.keys(), ...two.keys()])].sort()) {
    const [was, is] = [one.get(path), two.get(path)];
    if (was === is) same += 1;
    else (NOTES.test(path) ? explained : different).push(`${path}: ${was ?? 'not there'} / ${is ?? 'not there'}`);
  }
  return { same, different, explained };
}
