import type { Config } from '../../domain/configuration/config.ts';
import type { Verdict } from '../../domain/faults/verdict.ts';
import { toTime } from '../../domain/observed.ts';
import type { ClockJump, DiskFacts, MachineResources } from '../../domain/upkeep/resources.ts';
import { type Inodes, inodesText } from '../../domain/upkeep/upkeep.ts';
import { mebibytes } from './disk.ts';

const MEBIBYTE = 1024 * 1024;
/** Fewer free inodes than this part of all are as bad as no free space. */
const LEAST_INODES = 0.02;
/** A jump is told for so long: whoever compares times of logs must learn of it. */
export const CLOCK_JUMP_TOLD_MS = 600_000;

type Thresholds = Pick<Config, 'disk' | 'memory' | 'cleanup'>;

interface MachineResourceFacts {
  readonly config: Thresholds;
  readonly resources: MachineResources;
  readonly now: number;
}

type DiskState = 'fine' | 'warn' | 'low';

interface DiskView {
  readonly state: DiskState;
  /** Until it is full at the present rate; null: it does not fill, or it is not known. */
  readonly fullInMs: number | null;
  /** Its inodes, where they are what runs out. */
  readonly inodes: Inodes | null;
}

/** How a filesystem stands. */
export function judgeDisk(
  { space, bytesPerSecond }: Pick<DiskFacts, 'space' | 'bytesPerSecond'>,
  { disk }: Pick<Config, 'disk'>,
): DiskView {
  // Writing within the kernel's caches makes small numbers dance.
  const fullInMs = bytesPerSecond === null || bytesPerSecond < 1_024 ? null : (space.freeBytes / bytesPerSecond) * 1_000;
  const { freeInodes: free, totalInodes: total } = space;
  const inodes = free !== null && total !== null && free < total * LEAST_INODES ? { free, total } : null;
  const state =
    space.freeBytes < disk.minFreeMb * MEBIBYTE
      ? 'low'
      : space.freeBytes < disk.warnFreeMb * MEBIBYTE || inodes !== null || (fullInMs !== null && fullInMs < disk.warnFullWithinMs)
        ? 'warn'
        : 'fine';
  return { state, fullInMs, inodes };
}

/** Bytes to free so that the disk is no longer told of; 0 unless it is low. */
export const bytesToFree = (facts: DiskFacts, config: Pick<Config, 'disk'>): number =>
  judgeDisk(facts, config).state === 'low' ? Math.max(config.disk.warnFreeMb, config.disk.minFreeMb) * MEBIBYTE - facts.space.freeBytes : 0;

/** Faults of the machine by its resources: disks that fill, memory that runs out, a clock that jumped. None stops an instance. */
export function machineResourceVerdicts({ resources, config, now }: MachineResourceFacts): readonly Verdict[] {
  return [
    ...resources.disks.flatMap((facts) => diskFilling(facts, config, now)),
    ...memoryLow(resources, config, now),
    ...resources.clockJumps.filter(({ at }) => now - at < CLOCK_JUMP_TOLD_MS).map(clockJump),
  ];
}

function diskFilling(facts: DiskFacts, config: Thresholds, now: number): Verdict[] {
  const { state, fullInMs, inodes } = judgeDisk(facts, config);
  if (state === 'fine') return [];
  const { space, holds, bytesPerSecond } = facts;
  const room = `${mebibytes(space.freeBytes)} free of ${mebibytes(space.totalBytes)}`;
  const until = fullInMs === null ? '' : `; it is full in ${duration(fullInMs)} at the present rate`;
  const areas = config.cleanup.whenLow;
  return [
    {
      fault: 'disk-filling',
      reason: `the disk with ${holds.join(', ')} has ${inodes === null ? `${room}${until}` : `${inodesText(inodes)} (and ${room})`}`,
      evidence: [
        `path ${facts.path}`,
        ...(bytesPerSecond === null ? [] : [`${(bytesPerSecond / MEBIBYTE).toFixed(2)} MB/s`]),
        ...(space.freeInodes === null ? [] : [`${space.freeInodes} of ${space.totalInodes} inodes free`]),
        `told below ${config.disk.warnFreeMb} MiB, cleaned below ${config.disk.minFreeMb} MiB`,
      ],
      since: toTime(facts.lowSince ?? now),
      blocksReady: false,
      remedy: 'none',
      dueAt: null,
      next:
        state === 'low' && areas.length > 0
          ? `${areas.join(', ')} are cleaned as far as the policy permits; instances stay up; free space, or see \`agent cleanup --dry-run\``
          : 'instances stay up; free space, or see `agent cleanup --dry-run`',
    },
  ];
}

function memoryLow({ memory, memoryLowSince }: MachineResources, config: Thresholds, now: number): Verdict[] {
  if (memory === null || memoryLowSince === null) return [];
  const whose = memory.limitedBy === 'cgroup' ? 'the cgroup of the agent' : 'the machine';
  return [
    {
      fault: 'memory-growth',
      reason: `${whose} has ${mebibytes(memory.availableBytes)} of memory left of ${mebibytes(memory.totalBytes)}`,
      evidence: [`told below ${config.memory.minAvailableMb} MiB`],
      since: toTime(Math.min(memoryLowSince, now)),
      blocksReady: false,
      remedy: 'none',
      dueAt: null,
      next: 'the kernel ends a process when none is left; give instances a budget with memory.budgetMb, or run fewer',
    },
  ];
}

const clockJump = ({ at, byMs }: ClockJump): Verdict => ({
  fault: 'clock-jump',
  reason: `the clock of the machine jumped ${byMs > 0 ? 'forward' : 'back'} by ${duration(Math.abs(byMs))}, or the machine slept`,
  evidence: [`at ${toTime(at)} by the clock after it`],
  since: toTime(at),
  blocksReady: false,
  remedy: 'none',
  dueAt: null,
  next: 'durations are measured without it, and nothing is restarted for it; cleaning by age waits until this is no longer told',
});

function duration(ms: number): string {
  const seconds = Math.round(ms / 1_000);
  if (seconds < 120) return `${seconds} s`;
  return seconds < 7_200 ? `${Math.round(seconds / 60)} min` : `${(seconds / 3_600).toFixed(1)} h`;
}
