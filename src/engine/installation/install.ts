import { digestOf } from '../../domain/digest.ts';
import { AgentError } from '../../domain/errors.ts';
import { LOCK_NAME, type Lock } from '../../domain/lock.ts';
import { toTime } from '../../domain/observed.ts';
import type { PackStatus, Release } from '../../domain/release.ts';
import { lockDifference, lockText, movesNothing } from '../../plan/lock.ts';
import { releaseDirectory } from '../releases.ts';
import { forgetBytecode, inheritBytecode } from './bytecode.ts';
import type { InstallContext } from './context.ts';
import { installEnvironment, type PlannedEnvironment, planEnvironment } from './environment.ts';
import { linkSharedFolders } from './links.ts';
import { lockOf } from './lock.ts';
import { setUpPacks } from './pack-setup.ts';
import { fetchPacks } from './packs.ts';
import { type FetchedSource, fetchSource } from './source.ts';
import { validateRelease } from './validate.ts';

const MEBIBYTE = 1024 * 1024;
/** Written into a release that did not pass, for whoever looks into it; removed with it by the next installation. */
const FAILURE_NOTE = 'failed.json';

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
  await tracker.step('packs', () => fetchPacks(context));
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
    const lock = lockOf(context, fetched, environment, added);
    await tracker.step('links', () => linkSharedFolders(context));
    const packages = await ports.python.packages(environment.python);
    const trialRelease = {
      id: context.releaseId,
      python: environment.python.slice(directory.length + 1),
      constraints: environment.constraintsFile?.slice(directory.length + 1) ?? null,
      flags: [...fetched.flags],
    };
    const trial = context.config.install.validate
      ? await tracker.step('validate', async () =>
          validateRelease(context, trialRelease, JSON.parse(await ports.assets.text('workflows/canary.json')) as object),
        )
      : tracker.skip('validate', { validated: null, packs: new Map() });
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
      await ports.files.writeText(`${directory}/${LOCK_NAME}`, lockText(lock));
      await ports.files.writeText(`${directory}/release.json`, `${JSON.stringify(release, null, 2)}\n`);
      // The lock first: an agent that ends here finds the release that it names, and makes it current.
      if (context.lock === null || digestOf(context.lock) !== release.lockDigest)
        await ports.files.writeText(layout.lockFile, lockText(lock));
      await activate(context);
      return release;
    });
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    if (await ports.files.exists(directory)) {
      await ports.files
        .writeText(
          `${releaseDirectory(layout, context.releaseId)}/${FAILURE_NOTE}`,
          `${JSON.stringify({ at: toTime(ports.clock.now()), reason })}\n`,
        )
        .catch(() => undefined);
    }
    throw error;
  }
}

/** Leaves nothing of a release that was only planned. */
export async function discard({ ports, layout, directory, releaseId }: InstallContext): Promise<void> {
  await ports.files.remove(directory);
  await forgetBytecode(ports.files, layout, releaseId);
}

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
  const free = await files.freeBytes(layout.root);
  const neededBytes = config.install.minFreeDiskMb * MEBIBYTE;
  if (free !== null && free < neededBytes) {
    throw new AgentError(
      'DISK_FULL',
      `${layout.root} has ${Math.round(free / MEBIBYTE)} MiB free; an installation is not begun below ${config.install.minFreeDiskMb} MiB`,
      {
        help: 'free space, move the root, or lower install.minFreeDiskMb',
      },
    );
  }
  const current = await files.readLink(layout.current);
  // Better known now than after all the work.
  if (current === null && (await files.exists(layout.current))) throw inTheWay(layout.current);
  for (const name of await files.list(layout.releases)) {
    const abandoned = `${layout.releases}/${name}`;
    // Without release.json it is half built or failed. The current one may have lost it while instances run from it.
    if (abandoned === current || (await files.exists(`${abandoned}/release.json`))) continue;
    tracker.log(`removing the unfinished release ${name}`);
    await files.remove(abandoned);
    await forgetBytecode(files, layout, name);
  }
  await files.ensureDirectory(directory);
  await inheritBytecode(context);
}

/** The path the predecessor used: a link to a link, so that it may be made before the switch. */
async function linkInstallPath({ ports, layout, tracker }: InstallContext): Promise<void> {
  if (await ports.files.link(`${layout.current}/ComfyUI`, layout.installPath)) return;
  tracker.warn(`${layout.installPath} is no link and was left alone; the installation is at ${layout.current}/ComfyUI`);
}

/** `current` is for people, and switched by rename. */
async function activate({ ports, layout, directory }: InstallContext): Promise<void> {
  if (await ports.files.link(directory, layout.current)) return;
  throw inTheWay(layout.current);
}

const inTheWay = (path: string): AgentError =>
  new AgentError('ROOT_NOT_WRITABLE', `${path} is in the way: it is no link`, {
    help: 'move it away; the agent makes a link of that name',
  });

function provedPack(pack: PackStatus, trial: ReadonlyMap<string, { readonly loaded: boolean; readonly error: string | null }>): PackStatus {
  if (pack.state === 'failed') return pack;
  const result = trial.get(pack.name);
  if (result === undefined) return pack;
  if (result.loaded) return { ...pack, state: 'loaded' };
  return { ...pack, state: 'failed', error: `it does not import: ${result.error ?? 'see the installation log'}` };
}
