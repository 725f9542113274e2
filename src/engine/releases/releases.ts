import type { ReleasesDocument } from '../../domain/agent.ts';
import type { Layout } from '../../domain/configuration/config.ts';
import { AgentError, isAgentError } from '../../domain/errors/errors.ts';
import { INPUT_LIMITS } from '../../domain/files/foreign.ts';
import { LOCK_NAME, type Lock } from '../../domain/installation/lock.ts';
import { Release, ReleaseFailure } from '../../domain/installation/release.ts';
import { parseLock } from '../../plan/installation/lock.ts';
import type { Files } from '../../ports/files.ts';
import { parseJson } from '../state/files.ts';

/** What `current` names, and why it cannot be used if it cannot. */
export interface CurrentRelease {
  readonly release: Release | null;
  readonly problem: string | null;
}

/** Written into a release that was not proved, for whoever looks into it; it has no release.json. */
export const FAILURE_NOTE = 'failed.json';
/** Written into a proved release on which instances did not become ready. */
export const REJECTION_NOTE = 'rejected.json';

export const releaseDirectory = (layout: Layout, id: string): string => `${layout.releases}/${id}`;

const RECORD = 'release.json';

const recordFile = (layout: Layout, id: string, name: string): string => `${layout.records}/${id}/${name}`;

/**
 * What the agent noted of a release; null when there is nothing. It lies where packs cannot write. Whoever may not look there (a user
 * who asks without an agent) is told by the copy in the release, which nobody obeys.
 */
export async function readRecord(files: Files, layout: Layout, id: string, name: string): Promise<string | null> {
  try {
    return await files.readText(recordFile(layout, id, name));
  } catch (error) {
    if (!isAgentError(error) || error.details['code'] !== 'EACCES') throw error;
    return readCopy(files, layout, id, name);
  }
}

/** null: there is none, or something else in its place. */
const readCopy = (files: Files, layout: Layout, id: string, name: string): Promise<string | null> =>
  files
    .readForeign(`${releaseDirectory(layout, id)}/${name}`, { within: layout.releases, maxBytes: INPUT_LIMITS.record })
    .catch((refused: unknown) => {
      if (isAgentError(refused) && refused.code === 'INPUT_REFUSED') return null;
      throw refused;
    });

/** Copies of records that somebody changed: nobody obeys them, and whoever looks into the release should know. */
export async function alteredCopies(files: Files, layout: Layout, id: string): Promise<readonly string[]> {
  const altered: string[] = [];
  for (const name of [RECORD, LOCK_NAME]) {
    const record = await readRecord(files, layout, id, name);
    const copy = record === null ? null : await readCopy(files, layout, id, name);
    if (record !== copy) altered.push(name);
  }
  return altered;
}

/** Notes something of a release, with a copy in it for whoever looks into it. The record is written last: with it, it is so. */
export async function writeRecord(files: Files, layout: Layout, id: string, name: string, text: string): Promise<void> {
  await files.writeText(`${releaseDirectory(layout, id)}/${name}`, text);
  await files.ensureDirectory(`${layout.records}/${id}`, 0o700);
  await files.writeText(recordFile(layout, id, name), text);
}

/** A release is whole from this moment on. */
export const recordRelease = (files: Files, layout: Layout, release: Release): Promise<void> =>
  writeRecord(files, layout, release.id, RECORD, `${JSON.stringify(release, null, 2)}\n`);

/** Whether it was ever whole. */
export const isRecorded = (files: Files, layout: Layout, id: string): Promise<boolean> => files.exists(recordFile(layout, id, RECORD));

export async function readRelease(files: Files, layout: Layout, id: string): Promise<Release | null> {
  const text = await readRecord(files, layout, id, RECORD);
  if (text === null) return null;
  const parsed = Release.safeParse(parseJson(text));
  // A copy may be of anybody: what it says of itself names no other place.
  return parsed.success && parsed.data.id === id ? parsed.data : null;
}

/** What a release is made of; null when it has no lock, or one that is damaged: going back matters more. */
export async function readReleaseLock(files: Files, layout: Layout, id: string): Promise<Lock | null> {
  const text = await readRecord(files, layout, id, LOCK_NAME);
  try {
    return text === null ? null : parseLock(text, `the lock of release ${id}`);
  } catch {
    return null;
  }
}

/** Reads `current` and looks whether the release is whole: a handful of file checks, a few milliseconds. */
export async function readCurrent(files: Files, layout: Layout): Promise<CurrentRelease> {
  const target = await files.readLink(layout.current);
  if (target === null) return { release: null, problem: null };
  return readWhole(files, layout, target.split('/').at(-1) ?? '');
}

/** A release, and why it cannot be used if it cannot. */
export async function readWhole(files: Files, layout: Layout, id: string): Promise<CurrentRelease> {
  const release = await readRelease(files, layout, id);
  if (release === null) return { release: null, problem: `release ${id} is not whole: its record is missing or damaged` };
  const directory = releaseDirectory(layout, id);
  const needed = [`${directory}/${release.python}`, `${directory}/ComfyUI/main.py`];
  for (const pack of release.packs) {
    if (pack.state !== 'failed') needed.push(`${directory}/ComfyUI/custom_nodes/${pack.name}`);
  }
  const present = await Promise.all(needed.map((path) => files.exists(path)));
  const gone = needed.filter((_, index) => !present[index]);
  return { release, problem: gone.length === 0 ? null : `release ${id} is not whole: ${gone[0]} is missing` };
}

/** Why a release is not to be used; null: nothing is known against it. */
export async function readFailure(files: Files, layout: Layout, id: string): Promise<ReleaseFailure | null> {
  for (const note of [REJECTION_NOTE, FAILURE_NOTE]) {
    const text = await readRecord(files, layout, id, note);
    const parsed = text === null ? null : ReleaseFailure.safeParse(parseJson(text));
    if (parsed?.success) return parsed.data;
  }
  return null;
}

export async function listReleases(files: Files, layout: Layout, withSizes: boolean): Promise<ReleasesDocument> {
  const target = await files.readLink(layout.current);
  const current = target?.split('/').at(-1) ?? null;
  const ids = (await files.list(layout.releases)).filter((name) => !name.startsWith('.')).sort();
  const releases = await Promise.all(
    ids.map(async (id) => {
      const [release, failed] = await Promise.all([readRelease(files, layout, id), readFailure(files, layout, id)]);
      return {
        id,
        complete: release !== null,
        current: id === current,
        proved: release !== null && release.validated !== null && failed === null,
        failed,
        release,
        sizeBytes: withSizes ? await files.treeSize(releaseDirectory(layout, id)) : null,
      };
    }),
  );
  return { current, releases };
}

/** A release with the bytecode that its interpreter kept in the cache. */
export async function removeRelease(files: Files, layout: Layout, id: string): Promise<void> {
  await files.remove(`${layout.bytecode}/${id}`);
  await files.remove(releaseDirectory(layout, id));
  await files.remove(`${layout.records}/${id}`);
}

/**
 * Removes what was begun and not finished: without its record it is half built, or failed. The current one may have lost it
 * while instances run from it, and the newest one that was refused stays for whoever looks into it.
 * @returns their ids
 */
export async function removeUnfinished(files: Files, layout: Layout): Promise<readonly string[]> {
  const current = await files.readLink(layout.current);
  const removed: string[] = [];
  let hasRefused = false;
  for (const id of (await files.list(layout.releases)).toSorted().reverse()) {
    const directory = releaseDirectory(layout, id);
    if (directory === current || (await isRecorded(files, layout, id))) continue;
    if (!hasRefused && (await readFailure(files, layout, id))?.code === 'VALIDATION_FAILED') {
      hasRefused = true;
      continue;
    }
    await removeRelease(files, layout, id);
    removed.push(id);
  }
  return removed;
}

/**
 * The release to go back to: the named one, else the proved one before the current one.
 * @throws AgentError RELEASE_UNUSABLE with the list of those that can be had
 */
export async function chooseEarlier(files: Files, layout: Layout, named: string | null): Promise<string> {
  const { current, releases } = await listReleases(files, layout, false);
  const proved = releases.filter((release) => release.proved && !release.current).map((release) => release.id);
  const problems = await Promise.all(proved.map(async (id) => (await readWhole(files, layout, id)).problem));
  const usable = proved.filter((_, index) => problems[index] === null);
  const refuse = (what: string): AgentError =>
    new AgentError('RELEASE_UNUSABLE', what, {
      help:
        usable.length === 0 ? 'there is no other proved release on this machine' : `these can be had: ${usable.toReversed().join(', ')}`,
      details: { usable },
    });
  const id = named ?? usable.findLast((candidate) => current === null || candidate < current);
  if (id === undefined) throw refuse(`there is no proved release before ${current ?? 'the first one'}`);
  const found = releases.find((release) => release.id === id);
  if (found === undefined) throw refuse(`there is no release ${id}`);
  if (found.failed !== null) throw refuse(`release ${id} failed: ${found.failed.reason}`);
  if (!found.complete) throw refuse(`release ${id} is not whole`);
  if (found.current) throw refuse(`release ${id} is the one in use`);
  if (!found.proved) throw refuse(`release ${id} was never proved: it was installed without a trial start`);
  const problem = problems[proved.indexOf(id)] ?? null;
  if (problem !== null) throw refuse(problem);
  return id;
}

/**
 * Old releases beyond `keep`; never the current one, the last proved one before it, or one that an instance runs from. Of those
 * that failed the newest stays, for whoever looks into it.
 */
export async function surplusReleases(files: Files, layout: Layout, keep: number, inUse: ReadonlySet<string>): Promise<readonly string[]> {
  const { current, releases } = await listReleases(files, layout, false);
  const whole = releases.filter((release) => release.complete && release.failed === null);
  const failed = releases.filter((release) => release.failed !== null);
  const before = whole.findLast((release) => release.proved && current !== null && release.id < current);
  const kept = new Set([...inUse, current, before?.id, failed.at(-1)?.id, ...whole.slice(-keep).map((release) => release.id)]);
  return [...whole, ...failed].map((release) => release.id).filter((id) => !kept.has(id));
}

/** Removes them. */
export async function collectReleases(files: Files, layout: Layout, keep: number, inUse: ReadonlySet<string>): Promise<readonly string[]> {
  const surplus = await surplusReleases(files, layout, keep, inUse);
  for (const id of surplus) await removeRelease(files, layout, id);
  return surplus;
}
