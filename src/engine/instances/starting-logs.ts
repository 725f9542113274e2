import { incarnationKey } from '../../domain/instances/instance.ts';
import type { Files } from '../../ports/files.ts';
import type { Knowledge } from '../knowledge.ts';

/** A start is judged by progress: when the log of each starting instance last moved. */
export async function watchStartingLogs(files: Files, knowledge: Knowledge, now: number): Promise<void> {
  for (const launch of knowledge.launches.values()) {
    const seen = knowledge.observed?.incarnations.get(launch.name);
    const record = knowledge.instances.named(launch.name);
    const served = record?.probes.get('http');
    if (record === null || seen?.known !== true || seen.value === null) continue;
    if (served?.everPassed && served.latest.incarnation === incarnationKey(seen.value)) continue;
    const changedAt = await files.modifiedAt(launch.logFile).catch(() => null);
    if (changedAt === null || changedAt === record.log?.changedAt) continue;
    // After the first look the moment is our own: the clock may be set while it starts.
    record.log = { changedAt, movedAt: record.log === null ? Math.min(changedAt, now) : now };
  }
}
