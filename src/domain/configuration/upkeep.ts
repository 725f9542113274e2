import { z } from 'zod';

/** The sections of the configuration about what the machine has: logs, space, memory, processors. */

const duration = z.int().min(0);
const text = z.string().min(1);

export const Log = z.strictObject({
  level: z.enum(['debug', 'info', 'warn', 'error']).default('info'),
  maxFileMb: z
    .int()
    .min(1)
    .default(50)
    .describe('a log is begun anew before it grows past this; for each log of the agent, of instances and of PM2'),
  keepFiles: z.int().min(1).max(20).default(1).describe('older files kept of each log: its budget is maxFileMb * (1 + keepFiles)'),
  floodMbPerSecond: z.int().min(1).default(1).describe('a log that grows faster than this for some seconds is told as a flood'),
  keepInstallLogs: z.int().min(1).default(20).describe('installation logs kept, the newest ones'),
});

const CleanupArea = z.enum(['outputs', 'temp', 'caches', 'releases']);

const Limits = (maxAgeMs: number | null) =>
  z
    .strictObject({
      maxAgeMs: duration.nullable().default(maxAgeMs).describe('files not changed for longer are deleted; null: age is no reason'),
      maxMb: z.int().min(0).nullable().default(null).describe('the oldest files beyond this size are deleted; null: size is no reason'),
      keep: z
        .array(text)
        .default([])
        .describe('globs of what is never deleted, relative to the directory that is cleaned: "favourites/**", "*.mp4"'),
    })
    .prefault({});

export const Cleanup = z.strictObject({
  periodMs: duration.default(3_600_000).describe('pause between two cleanings; 0: only by hand and when the disk is low'),
  minAgeMs: z.int().min(1_000).default(600_000).describe('nothing that was changed more recently is ever deleted: it may still be written'),
  outputs: Limits(null).describe('shared/outputs/gpu<N>: the work of users, so that nothing is deleted unless it is asked for here'),
  temp: Limits(86_400_000).describe('instances/gpu<N>/temp: previews and intermediate files'),
  caches: Limits(null).describe('downloads, mirrors and bytecode, each entry as a whole; bytecode of releases that are gone always goes'),
  whenLow: z
    .array(CleanupArea)
    .default(['temp', 'caches', 'releases'])
    .describe('what may be deleted, the oldest first and beyond its limits, while the disk has less than disk.minFreeMb'),
});

export const Disk = z.strictObject({
  warnFreeMb: z.int().min(0).default(2_048).describe('less free space than this is told'),
  minFreeMb: z.int().min(0).default(512).describe('with less than this, what cleanup.whenLow names is deleted'),
  warnFullWithinMs: duration.default(3_600_000).describe('a disk that will be full within this time at its present rate is told'),
});

export const Memory = z.strictObject({
  budgetMb: z
    .int()
    .min(64)
    .nullable()
    .default(null)
    .describe('resident memory of an instance and its children; one that stays above it is restarted between jobs; null: no limit'),
  minAvailableMb: z.int().min(0).default(512).describe('a machine (or its cgroup) with less available memory is told'),
});

/** The list format of the kernel: `0-3,8`. */
const cpuList = z.string().regex(/^\d{1,4}(-\d{1,4})?(,\d{1,4}(-\d{1,4})?)*$/, 'a CPU list is written as 0-3,8');

export const Instances = z.strictObject({
  cpuAffinity: z
    .union([z.enum(['off', 'auto']), z.record(z.string().regex(/^\d{1,3}$/, 'name a GPU by its index'), cpuList)])
    .default('off')
    .describe('CPUs an instance may use: all, those near its card (NUMA node), or a CPU list for each GPU'),
  nice: z.int().min(0).max(19).default(0).describe('niceness of instances; 0: as the agent'),
});
