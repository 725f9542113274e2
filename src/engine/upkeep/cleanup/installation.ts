import type { Layout } from '../../../domain/configuration/config.ts';
import type { CleanedArea } from '../../../domain/upkeep/cleanup.ts';
import type { FoundFile } from '../../../domain/upkeep/upkeep.ts';
import { selectForRemoval } from '../../../plan/upkeep/cleanup.ts';
import { releaseDirectory, removeRelease, surplusReleases } from '../../releases/releases.ts';
import { type Cleaning, emptyArea, refusal } from './area.ts';

const MEBIBYTE = 1024 * 1024;
/** Places in the cache whose entries stand alone; everything else in it goes as a whole or not at all. */
const SPLIT = ['git', 'archives'] as const;
/** Work files of what runs just now. */
const WORK = 'tmp';
const BYTECODE = 'pycache';
/** Of paths of entries that lie where the agent alone may write, in place of the cache. */
const CLOSED = 'agent-only:';

const placeOf = (layout: Layout, path: string): string =>
  path.startsWith(CLOSED) ? `${layout.closed}/${path.slice(CLOSED.length)}` : `${layout.cache}/${path}`;

/** Old releases beyond `releases.keep`, as after an installation; all but the ones in use and one to go back to while the disk is low. */
export async function cleanReleases(cleaning: Cleaning): Promise<readonly CleanedArea[]> {
  const { ports, layout, config, dryRun } = cleaning;
  const result = emptyArea('releases', layout.releases);
  if (cleaning.installing) return [{ ...result, problem: 'an installation is running' }];
  try {
    const processes = (await ports.processes.list()).flatMap(({ release }) => (release === null ? [] : [release]));
    const keep = cleaning.need('releases') > 0 ? 1 : config.releases.keep;
    const surplus = await surplusReleases(ports.files, layout, keep, new Set(processes));
    let bytes = 0;
    for (const id of surplus) {
      cleaning.signal.throwIfAborted();
      cleaning.onProgress(`release ${id}`, 0.6);
      bytes += (await ports.files.treeUsage(releaseDirectory(layout, id))).ownBytes;
      if (!dryRun) await removeRelease(ports.files, layout, id);
    }
    return [
      {
        ...result,
        removed: { files: surplus.length, bytes },
        reasons: surplus.length === 0 ? [] : [`${surplus.length} superseded`],
        examples: surplus.slice(0, 20),
      },
    ];
  } catch (error) {
    cleaning.signal.throwIfAborted();
    return [{ ...result, problem: error instanceof Error ? error.message : String(error) }];
  }
}

/** Mirrors, archives, the package cache, and bytecode of releases that are gone: each entry as a whole, by its newest file. */
export async function cleanCaches(cleaning: Cleaning): Promise<readonly CleanedArea[]> {
  const { ports, layout, config, dryRun, now, signal } = cleaning;
  const { files } = ports;
  const result = emptyArea('caches', layout.cache);
  if (cleaning.installing) return [{ ...result, problem: 'an installation is running' }];
  const refused = await refusal(cleaning, layout.cache);
  if (refused !== null) return [{ ...result, problem: refused }];
  try {
    const limits = config.cleanup.caches;
    const need = cleaning.need('caches');
    const isAsked = limits.maxAgeMs !== null || limits.maxMb !== null || need > 0;
    const gone = await goneBytecode(cleaning);
    const entries = isAsked ? await cacheEntries(cleaning) : [];
    const policy = {
      maxAgeMs: limits.maxAgeMs,
      maxBytes: limits.maxMb === null ? null : limits.maxMb * MEBIBYTE,
      keep: limits.keep,
      minAgeMs: config.cleanup.minAgeMs,
      needBytes: need,
    };
    const selection = selectForRemoval(entries, policy, now);
    const chosen = [...gone, ...selection.files];
    for (const entry of chosen) {
      signal.throwIfAborted();
      if (!dryRun) await files.remove(placeOf(layout, entry.path));
    }
    const total = (list: readonly FoundFile[]): number => list.reduce((sum, entry) => sum + entry.bytes, 0);
    return [
      {
        ...result,
        found: { files: entries.length + gone.length, bytes: total(entries) + total(gone) },
        removed: { files: chosen.length, bytes: total(chosen) },
        reasons: [...selection.reasons, ...(gone.length === 0 ? [] : [`${gone.length} of releases that are gone`])],
        examples: chosen.slice(0, 20).map((entry) => entry.path),
      },
    ];
  } catch (error) {
    signal.throwIfAborted();
    return [{ ...result, problem: error instanceof Error ? error.message : String(error) }];
  }
}

async function goneBytecode(cleaning: Cleaning): Promise<readonly FoundFile[]> {
  const { ports, layout, config, now } = cleaning;
  const [cached, releases] = await Promise.all([ports.files.list(`${layout.cache}/${BYTECODE}`), ports.files.list(layout.releases)]);
  const left = cached.filter((id) => !releases.includes(id));
  const entries = await Promise.all(left.map((id) => cacheEntry(cleaning, `${BYTECODE}/${id}`)));
  return entries.filter((entry): entry is FoundFile => entry !== null && now - entry.changedAt >= config.cleanup.minAgeMs);
}

async function cacheEntries(cleaning: Cleaning): Promise<readonly FoundFile[]> {
  const { ports, layout } = cleaning;
  const paths: string[] = [];
  for (const name of await ports.files.list(layout.cache)) {
    if (name === WORK || name === BYTECODE || name.startsWith('.')) continue;
    if (!(SPLIT as readonly string[]).includes(name)) paths.push(name);
    else paths.push(...(await ports.files.list(`${layout.cache}/${name}`)).map((each) => `${name}/${each}`));
  }
  for (const name of SPLIT) paths.push(...(await ports.files.list(`${layout.closed}/${name}`)).map((each) => `${CLOSED}${name}/${each}`));
  const entries: FoundFile[] = [];
  for (const path of paths) {
    const entry = await cacheEntry(cleaning, path);
    if (entry !== null) entries.push(entry);
  }
  return entries;
}

/** A directory of the cache as one thing: all its bytes, and the time of its newest file. */
async function cacheEntry({ ports, layout, signal }: Cleaning, path: string): Promise<FoundFile | null> {
  const { files, upkeep } = ports;
  const absolute = placeOf(layout, path);
  const modifiedAt = await files.modifiedAt(absolute);
  if (modifiedAt === null) return null;
  let newest = modifiedAt;
  for await (const file of upkeep.walk(absolute, signal)) newest = Math.max(newest, file.changedAt);
  // What is hard-linked from a release frees nothing.
  const { ownBytes } = await files.treeUsage(absolute);
  return { path, bytes: ownBytes, changedAt: newest, inode: 0 };
}

/** The newest installation logs stay. */
export async function cleanInstallLogs({ ports, layout, config, dryRun, installing }: Cleaning): Promise<CleanedArea> {
  const { files } = ports;
  const result = emptyArea('logs', layout.logs);
  const names = (await files.list(layout.logs).catch(() => [])).filter((name) => /^install-.*\.log(\.\d+)?$/.test(name)).sort();
  const surplus = names.slice(0, Math.max(0, names.length - config.log.keepInstallLogs - (installing ? 1 : 0)));
  let bytes = 0;
  for (const name of surplus) {
    bytes += (await files.size(`${layout.logs}/${name}`)) ?? 0;
    if (!dryRun) await files.remove(`${layout.logs}/${name}`).catch(() => undefined);
  }
  return {
    ...result,
    found: { files: names.length, bytes: 0 },
    removed: { files: surplus.length, bytes },
    reasons: surplus.length === 0 ? [] : [`${surplus.length} beyond log.keepInstallLogs`],
    examples: surplus.slice(0, 20),
  };
}
