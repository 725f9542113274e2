import type { Config } from '../../domain/configuration/config.ts';
import type { Verdict } from '../../domain/faults/verdict.ts';
import { type DesiredInstance, type Incarnation, incarnationKey } from '../../domain/instances/instance.ts';
import { type Observed, toTime } from '../../domain/observed.ts';
import type { InstanceLog, InstanceMemory, ResourceFacts } from '../../domain/upkeep/resources.ts';
import { mebibytes } from '../upkeep/disk.ts';

const MEBIBYTE = 1024 * 1024;
/** Above its budget for so long: a job that takes much and gives it back is no growth. */
const SETTLED_MS = 15_000;
/** A budget that will be reached within this is told. */
const AHEAD_HOURS = 1;

interface ResourceVerdictFacts {
  readonly config: Pick<Config, 'memory' | 'log'>;
  readonly instance: Pick<DesiredInstance, 'gpu'>;
  readonly incarnation: Observed<Incarnation | null>;
  readonly resources: ResourceFacts | null;
  readonly now: number;
}

/** Memory beyond its budget and a log that floods: told; only memory has a remedy, between jobs. */
export function resourceVerdicts({ config, instance, incarnation, resources, now }: ResourceVerdictFacts): readonly Verdict[] {
  if (resources === null) return [];
  const { log } = resources;
  const present = incarnation.known && incarnation.value !== null ? incarnationKey(incarnation.value) : null;
  const memory = resources.memory?.incarnation === present ? resources.memory : null;
  return [
    ...(memory === null || config.memory.budgetMb === null ? [] : memoryGrowth(memory, config.memory.budgetMb, now)),
    ...(log === null || log.floodingSince === null ? [] : [logFlood(log, log.floodingSince, instance.gpu, config.log.floodMbPerSecond)]),
  ];
}

function memoryGrowth(memory: InstanceMemory, budgetMb: number, now: number): Verdict[] {
  const perHour = memory.bytesPerHour ?? 0;
  const evidence = [
    `resident ${mebibytes(memory.residentBytes)} in ${memory.processes} process${memory.processes === 1 ? '' : 'es'}, budget ${budgetMb} MiB`,
    memory.bytesPerHour === null ? 'its growth is not known yet' : `it grows by ${mebibytes(perHour)} an hour`,
  ];
  if (memory.overSince !== null)
    return [
      {
        fault: 'memory-growth',
        reason: `its memory (${mebibytes(memory.residentBytes)}) is above the budget of ${budgetMb} MiB`,
        evidence,
        since: toTime(memory.overSince),
        blocksReady: false,
        remedy: 'restart-when-idle',
        dueAt: toTime(memory.overSince + SETTLED_MS),
        next: 'when it stays so it is restarted between jobs, one instance at a time; raise memory.budgetMb when it needs that much',
      },
    ];
  const left = budgetMb * MEBIBYTE - memory.residentBytes;
  if (left <= 0 || perHour <= 0 || left / perHour > AHEAD_HOURS) return [];
  return [
    {
      fault: 'memory-growth',
      reason: `its memory grows by ${mebibytes(perHour)} an hour and reaches the budget of ${budgetMb} MiB in ${Math.max(1, Math.round((left / perHour) * 60))} min`,
      evidence,
      since: toTime(now),
      blocksReady: false,
      remedy: 'none',
      dueAt: null,
      next: 'above the budget it is restarted between jobs',
    },
  ];
}

const logFlood = (log: InstanceLog, since: number, gpu: number, limitMb: number): Verdict => ({
  fault: 'log-flood',
  reason: `it writes ${(log.bytesPerSecond / MEBIBYTE).toFixed(1)} MB/s into its log (told from ${limitMb} MB/s on)`,
  evidence: [log.path, ...(log.cutBytes === 0 ? [] : [`${mebibytes(log.cutBytes)} of it were cut away so far`])],
  since: toTime(since),
  blocksReady: false,
  remedy: 'none',
  dueAt: null,
  next: `nothing is restarted; the log stays within its budget and keeps the newest lines: see \`agent logs ${gpu}\``,
});
