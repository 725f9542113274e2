import { incarnationKey } from '../domain/instance.ts';
import type { Files } from '../ports.ts';
import type { Knowledge } from './knowledge.ts';

/** A start is judged by progress: when the log of each starting instance last moved. */
export async function watchStartingLogs(files: Files, knowledge: Knowledge): Promise<void> {
  for (const launch of knowledge.launches.values()) {
    const seen = knowledge.observed?.incarnations.get(launch.name);
    const served = knowledge.probes.get(launch.name)?.get('http');
    if (seen?.known !== true || seen.value === null) continue;
    if (served?.everPassed && served.latest.incarnation === incarnationKey(seen.value)) continue;
    const movedAt = await files.modifiedAt(launch.logFile).catch(() => null);
    if (movedAt !== null) knowledge.logMovedAt.set(launch.name, movedAt);
  }
}
