import { describe, expect, it } from 'vitest';
import { Verdict } from '../../../../src/domain/faults/verdict.ts';
import { incarnationKey } from '../../../../src/domain/instances/instance.ts';
import { known } from '../../../../src/domain/observed.ts';
import type { DiskFacts, MachineResources, ResourceFacts } from '../../../../src/domain/upkeep/resources.ts';
import { NO_MACHINE_RESOURCES } from '../../../../src/domain/upkeep/resources.ts';
import { resourceVerdicts } from '../../../../src/plan/faults/resources.ts';
import { bytesToFree, judgeDisk, machineResourceVerdicts } from '../../../../src/plan/upkeep/resources.ts';
import { slope, withSample } from '../../../../src/plan/upkeep/trend.ts';
import { aConfig, anIncarnation, anInstance, at, NOW } from '../../../support/machine/builders.ts';

const MEBIBYTE = 1024 * 1024;
const config = aConfig({ memory: { budgetMb: 1_000 }, disk: { warnFreeMb: 2_000, minFreeMb: 500 } });

describe('trend', () => {
  it('is a slope over samples that span enough', () => {
    const samples = [0, 1, 2, 3].map((second) => ({ at: second * 1_000, value: 5 + second * 20 }));
    expect(slope(samples, 3_000)).toBeCloseTo(0.02);
    expect(slope(samples, 3_001)).toBeNull();
    expect(slope([], 0)).toBeNull();
    expect(slope(samples.slice(0, 2), 0)).toBeNull();
  });

  it('forgets what is too long ago', () => {
    const samples = [0, 1, 2].map((second) => ({ at: second * 1_000, value: 0 }));
    expect(withSample(samples, { at: 3_000, value: 1 }, 1_500).map((sample) => sample.at)).toEqual([2_000, 3_000]);
  });
});

const memory = (change: Partial<NonNullable<ResourceFacts['memory']>> = {}): ResourceFacts => ({
  memory: {
    incarnation: incarnationKey(anIncarnation(0)),
    residentBytes: 100 * MEBIBYTE,
    processes: 1,
    overSince: null,
    bytesPerHour: null,
    ...change,
  },
  log: null,
});
const judged = (resources: ResourceFacts | null, of = config) =>
  resourceVerdicts({ config: of, instance: anInstance(0), incarnation: known(anIncarnation(0)), resources, now: NOW }).map((verdict) =>
    Verdict.parse(verdict),
  );

describe('verdicts on the resources of an instance', () => {
  it('nothing is wrong with what is not known, or within its budget', () => {
    expect(judged(null)).toEqual([]);
    expect(judged(memory())).toEqual([]);
    expect(judged(memory({ bytesPerHour: 10 * MEBIBYTE }))).toEqual([]);
    expect(judged(memory({ residentBytes: 5_000 * MEBIBYTE, overSince: NOW - 1 }), aConfig())).toEqual([]);
  });

  it('memory above its budget: a planned restart, not at once, and it goes on serving', () => {
    const [verdict] = judged(memory({ residentBytes: 1_200 * MEBIBYTE, processes: 3, overSince: NOW - 5_000 }));
    expect(verdict).toMatchObject({
      fault: 'memory-growth',
      remedy: 'restart-when-idle',
      blocksReady: false,
      since: at(-5_000),
      dueAt: at(10_000),
      reason: 'its memory (1200 MiB) is above the budget of 1000 MiB',
    });
    expect(verdict?.evidence[0]).toBe('resident 1200 MiB in 3 processes, budget 1000 MiB');
  });

  it('memory of an earlier process says nothing of this one', () => {
    expect(judged(memory({ incarnation: 'another', residentBytes: 1_200 * MEBIBYTE, overSince: NOW - 60_000 }))).toEqual([]);
  });

  it('memory that will soon be above its budget is told, and nothing is done', () => {
    const [verdict] = judged(memory({ residentBytes: 900 * MEBIBYTE, bytesPerHour: 200 * MEBIBYTE }));
    expect(verdict).toMatchObject({
      remedy: 'none',
      reason: 'its memory grows by 200 MiB an hour and reaches the budget of 1000 MiB in 30 min',
    });
  });

  it('a log that floods is told with its rate, and nothing is done', () => {
    const log = { path: '/w/logs/comfyui-gpu0.log', bytesPerSecond: 34.5 * MEBIBYTE, floodingSince: NOW - 9_000, cutBytes: 3 * MEBIBYTE };
    const [verdict] = judged({ memory: null, log });
    expect(verdict).toMatchObject({ fault: 'log-flood', remedy: 'none', blocksReady: false, since: at(-9_000) });
    expect(verdict?.reason).toContain('34.5 MB/s');
    expect(verdict?.evidence).toEqual([log.path, '3 MiB of it were cut away so far']);
    expect(judged({ memory: null, log: { ...log, floodingSince: null } })).toEqual([]);
  });
});

const disk = (freeMb: number, change: Partial<DiskFacts> = {}): DiskFacts => ({
  holds: ['root', 'temp'],
  path: '/w',
  space: { freeBytes: freeMb * MEBIBYTE, totalBytes: 10_000 * MEBIBYTE, freeInodes: 900, totalInodes: 1_000, device: '1' },
  bytesPerSecond: null,
  lowSince: null,
  ...change,
});
const ofMachine = (change: Partial<MachineResources>) =>
  machineResourceVerdicts({ config, resources: { ...NO_MACHINE_RESOURCES, ...change }, now: NOW }).map((verdict) => Verdict.parse(verdict));

describe('verdicts on the resources of the machine', () => {
  it.each<[string, DiskFacts, string]>([
    ['room', disk(5_000), 'fine'],
    ['little room', disk(1_999), 'warn'],
    ['hardly any', disk(499), 'low'],
    ['no inodes', disk(5_000, { space: { ...disk(5_000).space, freeInodes: 10 } }), 'warn'],
    ['no count of inodes', disk(5_000, { space: { ...disk(5_000).space, freeInodes: null, totalInodes: null } }), 'fine'],
    ['full within the hour', disk(5_000, { bytesPerSecond: 2 * MEBIBYTE }), 'warn'],
    ['full some day', disk(5_000, { bytesPerSecond: 0.5 * MEBIBYTE }), 'fine'],
    ['being emptied', disk(5_000, { bytesPerSecond: -50 * MEBIBYTE }), 'fine'],
  ])('a disk with %s', (_what, facts, state) => expect(judgeDisk(facts, config).state).toBe(state));

  it('a disk that takes no more files is told by its inodes, not by its space', () => {
    const { space } = disk(8_188);
    const facts = disk(8_188, { space: { ...space, freeInodes: 0, totalInodes: 2_500 }, bytesPerSecond: 13_000, lowSince: NOW });
    expect(ofMachine({ disks: [facts] })[0]?.reason).toBe(
      'the disk with root, temp has 0 of 2500 inodes free (and 8188 MiB free of 10000 MiB)',
    );
  });

  it('a disk that fills is told with its rate and the time that is left', () => {
    const [verdict] = ofMachine({ disks: [disk(1_000, { bytesPerSecond: 10 * MEBIBYTE, lowSince: NOW - 60_000 })] });
    expect(verdict).toMatchObject({ fault: 'disk-filling', remedy: 'none', blocksReady: false, since: at(-60_000) });
    expect(verdict?.reason).toBe('the disk with root, temp has 1000 MiB free of 10000 MiB; it is full in 100 s at the present rate');
    expect(verdict?.evidence).toContain('10.00 MB/s');
  });

  it('only a low disk is cleaned, up to where it is no longer told', () => {
    expect(bytesToFree(disk(1_000), config)).toBe(0);
    expect(bytesToFree(disk(400), config)).toBe(1_600 * MEBIBYTE);
    expect(ofMachine({ disks: [disk(400)] })[0]?.next).toMatch(/^temp, caches, releases are cleaned .* instances stay up/);
    const none = aConfig({ cleanup: { whenLow: [] }, disk: { minFreeMb: 500 } });
    const [verdict] = machineResourceVerdicts({ config: none, resources: { ...NO_MACHINE_RESOURCES, disks: [disk(400)] }, now: NOW });
    expect(verdict?.next).toMatch(/^instances stay up/);
  });

  it('memory that runs out is told, of the machine or of its cgroup', () => {
    const room = { availableBytes: 100 * MEBIBYTE, totalBytes: 4_000 * MEBIBYTE, limitedBy: 'cgroup' as const };
    expect(ofMachine({ memory: room, memoryLowSince: NOW - 1_000 })[0]).toMatchObject({
      fault: 'memory-growth',
      reason: 'the cgroup of the agent has 100 MiB of memory left of 4000 MiB',
      since: at(-1_000),
    });
    expect(ofMachine({ memory: room, memoryLowSince: null })).toEqual([]);
  });

  it('a jump of the clock is told for ten minutes', () => {
    expect(ofMachine({ clockJumps: [{ at: NOW - 599_000, byMs: -7_200_000 }] })[0]).toMatchObject({
      fault: 'clock-jump',
      reason: 'the clock of the machine jumped back by 2.0 h, or the machine slept',
      blocksReady: false,
    });
    expect(ofMachine({ clockJumps: [{ at: NOW - 601_000, byMs: 5_000 }] })).toEqual([]);
  });
});
