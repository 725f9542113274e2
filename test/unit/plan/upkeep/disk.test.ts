import { describe, expect, it } from 'vitest';
import { diskNeed, mebibytes } from '../../../../src/plan/upkeep/disk.ts';

const MIB = 1024 * 1024;

describe('what a new release may take', () => {
  const cases: readonly [string, Parameters<typeof diskNeed>[0], number, number][] = [
    ['the first one: only the spare is known', null, 512, 512],
    ['as much of its own as the one before', { bytes: 300 * MIB, ownBytes: 300 * MIB }, 512, 812],
    ['and a tenth of what is shared with the caches', { bytes: 5_300 * MIB, ownBytes: 300 * MIB }, 512, 1_312],
    ['nothing but that without a spare', { bytes: 1_000 * MIB, ownBytes: 0 }, 0, 100],
    ['nothing is nothing', { bytes: 0, ownBytes: 0 }, 0, 0],
  ];
  for (const [name, previous, spareMb, expectedMib] of cases)
    it(name, () => {
      expect(diskNeed(previous, spareMb).bytes).toBe(expectedMib * MIB);
    });

  it('is told in words', () => {
    expect(diskNeed({ bytes: 5_300 * MIB, ownBytes: 300 * MIB }, 512).because).toBe(
      'a new release takes about 300 MiB as the one before, caches may grow by 500 MiB, and 512 MiB stay free',
    );
    expect(diskNeed(null, 512).because).toBe('an installation is not begun below 512 MiB');
    expect(mebibytes(1.6 * MIB)).toBe('2 MiB');
  });
});
