import { incarnationKey } from '../../domain/instances/instance.ts';
import type { Files } from '../../ports/files.ts';
import type { Knowledge } from '../knowledge.ts';

/** A start is judged by progress: when the log of each starting instance last moved. */
export async function watchStartingLogs(files: Files, knowledge: Knowledge, now: number): Promise<void> {
  for (const launch of knowledge.launches.values()) {
    const seen = knowledge.observed?.incarnations.get(launch.name);
    const served = knowledge.probes.get(launch.name)?.get('http');
    if (seen?.known !== true || seen.value === null) continue;
    if (served?.everPassed && served.latest.incarnation === incarnationKey(seen.value)) continue;
    const changedAt = await files.modifiedAt(launch.logFile).catch(() => null);
    const before = knowledge.logChanges.get(launch.name);
    if (changedAt === null || changedAt === before) continue;
    knowledge.logChanges.set(launch.name, changedAt);
    // After the first look the moment is our own: the clock may be set while it starts.
    knowledge.logMovedAt.set(launch.name, before === undefined ? Math.min(changedAt, now) : now);
  }
}
