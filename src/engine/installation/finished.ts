import type { Layout } from '../../domain/configuration/config.ts';
import type { Release } from '../../domain/installation/release.ts';
import { failedPacks } from '../../plan/installation/installation.ts';
import type { Files } from '../../ports/files.ts';
import { listReleases, readWhole } from '../releases/releases.ts';

export interface WantedRelease {
  readonly specDigest: string;
  /** Of the lock that says how it is to be; null: there is none. */
  readonly lockDigest: string | null;
  /** A release made since then is the one that was asked for, whatever it was asked to move. Epoch ms; null: nobody asked. */
  readonly requestedAt: number | null;
  /** Only such a one will do: a new release, or newer pins, were asked for. */
  readonly isNew: boolean;
}

/**
 * A proved release on this machine that is what is asked for and not in use: what an agent that was killed had finished, or
 * what the lock names again. It needs a switch, not an installation.
 */
export async function findFinished(
  files: Files,
  layout: Layout,
  { specDigest, lockDigest, requestedAt, isNew }: WantedRelease,
): Promise<Release | null> {
  const { releases } = await listReleases(files, layout, false);
  for (const { id, release, proved, current } of releases.toReversed()) {
    if (release === null || !proved || current || release.specDigest !== specDigest || failedPacks(release) !== null) continue;
    const isAnswer = requestedAt !== null && Date.parse(release.createdAt) >= requestedAt;
    const isLocked = !isNew && lockDigest !== null && release.lockDigest === lockDigest;
    if ((isAnswer || isLocked) && (await readWhole(files, layout, id)).problem === null) return release;
  }
  return null;
}
