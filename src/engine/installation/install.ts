import { both } from '../../domain/both.ts';
import { AgentError, asAgentError } from '../../domain/errors/errors.ts';
import { LOCK_NAME, type Lock, type LockedPackage } from '../../domain/installation/lock.ts';
import type { Release } from '../../domain/installation/release.ts';
import { toTime } from '../../domain/observed.ts';
import { digestOf } from '../../domain/text/digest.ts';
import { lockDifference, lockText, movesNothing } from '../../plan/installation/lock.ts';
import { diskNeed } from '../../plan/upkeep/disk.ts';
import { FAILURE_NOTE, recordRelease, releaseDirectory, removeRelease, removeUnfinished, writeRecord } from '../releases/releases.ts';
import { inheritBytecode } from './bytecode.ts';
import type { InstallContext } from './context.ts';
import { requireRoom } from './disk-room.ts';
import { containChanges, withPackages } from './environment/containment.ts';
import { type BuiltEnvironment, installEnvironment, type PlannedEnvironment, planEnvironment } from './environment/environment.ts';
import { linkSharedFolders } from './links.ts';
import { lockOf } from './lock.ts';
import { fetchPacks } from './packs/packs.ts';
import { setUpPacks } from './packs/setup.ts';
import { type FetchedSource, fetchSource } from './source.ts';
import { tryRelease } from './trial.ts';
import { provedPack } from './validate.ts';

/** `20261121-041500-3fb07a80`: sorts by time; the last part tells any two releases of one machine apart. */
export const newReleaseId = (now: number, digest: string): string =>
  `${toTime(now).replace(/[-:]/g, '').replace('T', '-').slice(0, 15)}-${digestOf([digest, now]).slice(0, 8)}`;

interface PlannedRelease {
  readonly source: FetchedSource;
  readonly environment: PlannedEnvironment;
  /** As far as it is known before scripts of packs ran. */
  readonly lock: Lock;
}

/**
 * Everything that decides what a release is made of: sources in place, packages resolved, the difference to the lock told.
 * Only the directory of the new release is written.
 */
export async function planRelease(context: InstallContext): Promise<PlannedRelease> {
  const { tracker } = context;
  await tracker.step('prepare', () => prepare(context));
  const source = await tracker.step('source', () => fetchSource(context));
  // No Python runs before packs are there, and what links the bytecode is no work for this process.
  await tracker.step('packs', () => both(fetchPacks(context), inheritBytecode(context)));
  const environment = await tracker.step('resolve', () => planEnvironment(context));
  const lock = lockOf(context, source, environment, []);
  tracker.difference(lockDifference(context.lock, lock));
  return { source, environment, lock };
}

/**
 * Builds a release at its final path and makes it current: the whole installation on one page. Nothing that runs is
 * touched before the last step; whatever fails earlier leaves the old release in place.
 *
 * @returns null when an update found nothing newer
 */
export async function installRelease(context: InstallContext): Promise<Release | null> {
  const { tracker, directory, ports, layout } = context;
  try {
    const { source: fetched, environment: chosen, lock: planned } = await planRelease(context);
    if (!movesNothing(context.moves) && isInPlace(context, planned)) {
      await discard(context);
      return null;
    }
    const environment = await tracker.step('environment', async () => ({
      ...chosen,
      constraintsFile: await installEnvironment(context, chosen.python, chosen.resolution),
    }));
    const added = await tracker.step('pack-setup', () => setUpPacks(context, environment));
    await tracker.step('links', () => linkSharedFolders(context));
    const beforeTrial = await ports.python.packages(environment.python);
    const trialRelease = {
      id: context.releaseId,
      python: environment.python.slice(directory.length + 1),
      constraints: environment.constraintsFile?.slice(directory.length + 1) ?? null,
      flags: [...fetched.flags],
    };
    const trial = context.config.install.validate
      ? await tracker.step('validate', async () =>
          tryRelease(
            context,
            { ...trialRelease, torch: beforeTrial['torch'] ?? null },
            JSON.parse(await ports.assets.text('workflows/canary.json')) as object,
          ),
        )
      : tracker.skip('validate', { validated: null, packs: new Map() });
    const imported = await containImports(context, environment, added, beforeTrial);
    const packages = imported.packages;
    const lock = lockOf(context, fetched, environment, [...added, ...imported.adopted]);
    return await tracker.step('activate', async () => {
      await linkInstallPath(context);
      const release: Release = {
        schema: 1,
        ...trialRelease,
        createdAt: toTime(ports.clock.now()),
        specDigest: context.specDigest,
        lockDigest: digestOf(lock),
        spec: context.spec,
        source: fetched.source,
        comfyuiVersion: fetched.comfyuiVersion,
        pythonVersion: environment.pythonVersion,
        torch: packages['torch'] ?? null,
        packs: tracker.progress.packs.map((pack) => provedPack(pack, trial.packs)),
        packages: { ...packages },
        warnings: [...tracker.warnings],
        validated: trial.validated,
        durations: { ...tracker.durations },
      };
      for (const pack of release.packs) tracker.pack(pack.name, pack);
      await writeRecord(ports.files, layout, release.id, LOCK_NAME, lockText(lock));
      await recordRelease(ports.files, layout, release);
      await context.activate(release.id);
      return release;
    });
  } catch (error) {
    const { code, message: reason } = asAgentError(error);
    if (await ports.files.exists(directory)) {
      const note = `${JSON.stringify({ at: toTime(ports.clock.now()), reason, code })}\n`;
      await writeRecord(ports.files, layout, context.releaseId, FAILURE_NOTE, note).catch(() => undefined);
    }
    throw error;
  }
}

/** Packs may call pip when they are imported, which the trial start did: the same holds as for their scripts. */
async function containImports(
  context: InstallContext,
  environment: BuiltEnvironment,
  added: readonly LockedPackage[],
  before: Readonly<Record<string, string>>,
): Promise<{ readonly adopted: readonly LockedPackage[]; readonly packages: Readonly<Record<string, string>> }> {
  const { ports, tracker } = context;
  const whole = { ...environment, resolution: withPackages(environment.resolution, added) };
  const { adopted, words } = await containChanges(context, whole, before, { by: 'the trial start', addedBy: 'an import' });
  for (const told of words) tracker.warn(told);
  return { adopted, packages: words.length === 0 ? before : await ports.python.packages(environment.python) };
}

/** Leaves nothing of a release that was only planned. */
export const discard = ({ ports, layout, releaseId }: InstallContext): Promise<void> => removeRelease(ports.files, layout, releaseId);

/** An update that found nothing newer. */
const isInPlace = ({ lock, previous, specDigest }: InstallContext, planned: Lock): boolean =>
  previous !== null &&
  lock !== null &&
  previous.specDigest === specDigest &&
  previous.lockDigest === digestOf(lock) &&
  lockDifference(withoutAdditions(lock), planned).length === 0;

/** What scripts of packs add is known only after they ran. */
const withoutAdditions = (lock: Lock): Lock => ({
  ...lock,
  python: { ...lock.python, packages: lock.python.packages.filter((each) => each.addedBy === null) },
});

async function prepare(context: InstallContext): Promise<void> {
  const { ports, config, layout, directory, tracker } = context;
  const { files } = ports;
  const usage = context.previous === null ? null : await files.treeUsage(releaseDirectory(layout, context.previous.id));
  await requireRoom(files, layout.root, diskNeed(usage, config.install.minFreeDiskMb));
  const current = await files.readLink(layout.current);
  // Better known now than after all the work.
  if (current === null && (await files.exists(layout.current))) throw inTheWay(layout.current);
  for (const id of await removeUnfinished(files, layout)) tracker.log(`removed the unfinished release ${id}`);
  await files.ensureDirectory(directory);
}

/** The path the predecessor used: a link to a link, so that it may be made before the switch. */
async function linkInstallPath({ ports, layout, tracker }: InstallContext): Promise<void> {
  if (await ports.files.link(`${layout.current}/ComfyUI`, layout.installPath)) return;
  tracker.warn(`${layout.installPath} is no link and was left alone; the installation is at ${layout.current}/ComfyUI`);
}

const inTheWay = (path: string): AgentError =>
  new AgentError('ROOT_NOT_WRITABLE', `${path} is in the way: it is no link`, {
    help: 'move it away; the agent makes a link of that name',
  });
