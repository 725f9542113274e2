import type { CleanupArea } from '../../../domain/configuration/config.ts';
import { toTime } from '../../../domain/observed.ts';
import type { CleanedArea, CleanupDocument } from '../../../domain/upkeep/cleanup.ts';
import type { FoundFile } from '../../../domain/upkeep/upkeep.ts';
import { selectForRemoval } from '../../../plan/upkeep/cleanup.ts';
import { bytesToFree } from '../../../plan/upkeep/resources.ts';
import type { Ports } from '../../../ports.ts';
import type { Journal } from '../../journal.ts';
import type { Knowledge } from '../../knowledge.ts';
import { type Cleaning, type CleaningRequest, emptyArea, refusal } from './area.ts';
import { cleanCaches, cleanInstallLogs, cleanReleases } from './installation.ts';

const MEBIBYTE = 1024 * 1024;
const EXAMPLES = 20;
/** What is more than this waits for the next cleaning: a walk must not take the memory of the machine. */
const FILES_LIMIT = 100_000;
/** Progress is told after so many files. */
const TELL_EVERY = 500;

export interface CleaningContext {
  readonly ports: Ports;
  readonly knowledge: Knowledge;
  readonly journal: Journal;
}

/**
 * Deletes what the policy says: outputs and temporary files by age and size, old releases, caches, old installation logs; while the
 * disk is low more, in the order of `cleanup.whenLow`. Links are never followed, only the root's own directories are entered,
 * and what was changed a moment ago stays.
 */
export async function clean(context: CleaningContext, request: CleaningRequest): Promise<CleanupDocument> {
  const { ports, knowledge } = context;
  const { config, layout } = knowledge.configuration;
  const low = Math.max(0, ...knowledge.machineResources.disks.map((disk) => bytesToFree(disk, config)));
  const areas: CleanedArea[] = [];
  const freed = (): number => areas.reduce((sum, area) => sum + area.removed.bytes, 0);
  const cleaning: Cleaning = {
    ...request,
    ports,
    config,
    layout,
    now: ports.clock.now(),
    need: (area) => (config.cleanup.whenLow.includes(area) ? Math.max(0, low - freed()) : 0),
  };
  const steps: Readonly<Record<CleanupArea, () => Promise<readonly CleanedArea[]>>> = {
    temp: () => cleanInstanceFiles(cleaning, 'temp'),
    outputs: () => cleanInstanceFiles(cleaning, 'outputs'),
    caches: () => cleanCaches(cleaning),
    releases: () => cleanReleases(cleaning),
  };
  const order = [...new Set<CleanupArea>([...config.cleanup.whenLow, 'temp', 'outputs', 'releases', 'caches'])];
  for (const [index, area] of order.entries()) {
    request.signal.throwIfAborted();
    request.onProgress(`looking at ${area}`, index / (order.length + 1));
    areas.push(...(await steps[area]()));
  }
  areas.push(await cleanInstallLogs(cleaning));
  const document = { dryRun: request.dryRun, at: toTime(cleaning.now), freedBytes: freed(), areas };
  if (!request.dryRun) record(context, document);
  return document;
}

function record({ knowledge, journal }: CleaningContext, document: CleanupDocument): void {
  for (const { area, removed } of document.areas) {
    const before = knowledge.cleaned.get(area) ?? { files: 0, bytes: 0 };
    knowledge.cleaned.set(area, { files: before.files + removed.files, bytes: before.bytes + removed.bytes });
  }
  const problems = document.areas.filter((area) => area.problem !== null);
  const removed = document.areas.filter((area) => area.removed.files > 0);
  if (removed.length === 0 && problems.length === 0) return;
  journal.record({
    type: 'cleanup.done',
    target: 'machine',
    level: problems.length === 0 ? 'info' : 'warn',
    message: cleanupMessage(document),
    data: {
      freedBytes: document.freedBytes,
      areas: removed.map(({ area, directory, removed: { files, bytes }, reasons }) => ({ area, directory, files, bytes, reasons })),
      problems: problems.map(({ directory, problem }) => `${directory}: ${problem}`),
    },
  });
}

/** For people, one line. */
export function cleanupMessage({ dryRun, freedBytes, areas }: CleanupDocument): string {
  const parts = areas
    .filter((area) => area.removed.files > 0)
    .map(({ area, removed }) => `${area} ${removed.files} (${size(removed.bytes)})`);
  const problems = areas.filter((area) => area.problem !== null).length;
  const trouble = problems === 0 ? '' : `; ${problems} place${problems === 1 ? '' : 's'} could not be cleaned`;
  if (parts.length === 0) return `nothing to delete${trouble}`;
  return `${dryRun ? 'would free' : 'freed'} ${size(freedBytes)}: ${parts.join(', ')}${trouble}`;
}

const size = (bytes: number): string => `${(bytes / MEBIBYTE).toFixed(1)} MiB`;

/** One directory for each instance, also of cards that are no longer there. */
async function cleanInstanceFiles(cleaning: Cleaning, area: 'outputs' | 'temp'): Promise<readonly CleanedArea[]> {
  const { ports, layout } = cleaning;
  const base = area === 'outputs' ? layout.outputs : layout.instances;
  const names = (await ports.files.list(base).catch(() => [])).filter((name) => /^gpu\d+$/.test(name)).sort();
  const done: CleanedArea[] = [];
  // What one instance gave no other has to.
  for (const name of names) {
    const given = done.reduce((sum, each) => sum + each.removed.bytes, 0);
    done.push(await cleanDirectory(cleaning, area, area === 'outputs' ? `${base}/${name}` : `${base}/${name}/temp`, given));
  }
  return done;
}

async function cleanDirectory(cleaning: Cleaning, area: 'outputs' | 'temp', directory: string, given: number): Promise<CleanedArea> {
  const { ports, config, signal, dryRun, now } = cleaning;
  const { upkeep } = ports;
  const limits = config.cleanup[area];
  const need = Math.max(0, cleaning.need(area) - given);
  const result = emptyArea(area, directory);
  if (limits.maxAgeMs === null && limits.maxMb === null && need === 0) return result;
  const refused = await refusal(cleaning, directory);
  if (refused !== null) return { ...result, problem: refused };
  try {
    const found: FoundFile[] = [];
    for await (const file of upkeep.walk(directory, signal)) {
      found.push(file);
      if (found.length >= FILES_LIMIT) break;
    }
    const selection = selectForRemoval(
      found,
      {
        maxAgeMs: limits.maxAgeMs,
        maxBytes: limits.maxMb === null ? null : limits.maxMb * MEBIBYTE,
        keep: limits.keep,
        minAgeMs: config.cleanup.minAgeMs,
        needBytes: need,
      },
      now,
    );
    const removed = { files: 0, bytes: 0 };
    for (const file of selection.files) {
      signal.throwIfAborted();
      if (!dryRun && !(await upkeep.removeFound(directory, file))) continue;
      removed.files += 1;
      removed.bytes += file.bytes;
      if (removed.files % TELL_EVERY === 0) cleaning.onProgress(`${area}: ${removed.files} of ${selection.files.length} files`, 0.5);
    }
    if (!dryRun && removed.files > 0) await upkeep.removeEmpty(directory, now - config.cleanup.minAgeMs);
    return {
      ...result,
      found: { files: found.length, bytes: found.reduce((sum, file) => sum + file.bytes, 0) },
      removed,
      reasons: [...selection.reasons],
      examples: selection.files.slice(0, EXAMPLES).map((file) => file.path),
    };
  } catch (error) {
    signal.throwIfAborted();
    return { ...result, problem: error instanceof Error ? error.message : String(error) };
  }
}
