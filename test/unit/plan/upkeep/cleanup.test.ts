import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { FoundFile } from '../../../../src/domain/upkeep/upkeep.ts';
import { matchesGlob } from '../../../../src/plan/text/glob.ts';
import { type CleanupPolicy, selectForRemoval } from '../../../../src/plan/upkeep/cleanup.ts';
import { NOW } from '../../../support/machine/builders.ts';

const MINUTE = 60_000;
const file = (path: string, ageMs: number, bytes = 100): FoundFile => ({ path, bytes, changedAt: NOW - ageMs, inode: 1 });
const policy = (change: Partial<CleanupPolicy> = {}): CleanupPolicy => ({
  maxAgeMs: null,
  maxBytes: null,
  keep: [],
  minAgeMs: 10 * MINUTE,
  needBytes: 0,
  ...change,
});
const chosen = (files: readonly FoundFile[], change: Partial<CleanupPolicy>): readonly string[] =>
  selectForRemoval(files, policy(change), NOW).files.map((each) => each.path);

describe('globs', () => {
  it.each([
    ['*.mp4', 'a.mp4', true],
    ['*.mp4', 'deep/er/a.mp4', true],
    ['*.mp4', 'a.mp4.txt', false],
    ['favourites/**', 'favourites/a/b.png', true],
    ['favourites/**', 'other/favourites/b.png', false],
    ['favourites', 'favourites/b.png', true],
    ['favourites/', 'favourites/x/b.png', true],
    ['**/keep/*.png', 'a/keep/b.png', true],
    ['**/keep/*.png', 'keep/b.png', true],
    ['**/keep/*.png', 'keep/c/b.png', false],
    ['a?.png', 'ab.png', true],
    ['a?.png', 'a/.png', false],
    ['[ab].png', 'b.png', true],
    ['[!ab].png', 'b.png', false],
    ['a+b(1).png', 'a+b(1).png', true],
    ['a.png', 'abpng', false],
    ['/x/*.png', 'x/a.png', true],
    ['[', '[', true],
    ['[!]', '!', true],
    ['[a-c].png', 'b.png', true],
    ['[a-c].png', '-.png', false],
    ['["- ]', '-', true],
    ['[z-a]', 'b', false],
    ['[z-a]', 'a', true],
    ['[a-]', '-', true],
    ['[^a]', '^', true],
    ['[\\]', '\\', true],
  ])('%s, %s: %s', (glob, path, expected) => expect(matchesGlob(glob, path)).toBe(expected));

  it('any text is a glob, and a path without signs names itself', () => {
    fc.assert(fc.property(fc.string(), fc.string(), (glob, path) => typeof matchesGlob(glob, path) === 'boolean'));
    const signs = fc.string({ unit: fc.constantFrom('[', ']', '!', '^', '-', '\\', 'a', 'z', '"', ' ', '*', '/'), maxLength: 8 });
    fc.assert(
      fc.property(signs, signs, (glob, path) => typeof matchesGlob(glob, path) === 'boolean'),
      { numRuns: 2_000 },
    );
    fc.assert(
      fc.property(fc.array(fc.stringMatching(/^[a-z0-9 _.+$^-]{1,8}$/), { minLength: 1, maxLength: 4 }), (parts) =>
        matchesGlob(`/${parts.join('/')}`, parts.join('/')),
      ),
    );
  });
});

describe('what a cleaning removes', () => {
  const files = [file('old.png', 90 * MINUTE), file('older.png', 120 * MINUTE), file('new.png', 20 * MINUTE), file('writing.png', MINUTE)];

  it.each<[string, Partial<CleanupPolicy>, readonly string[]]>([
    ['nothing, unless something asks for it', {}, []],
    ['what is older than allowed, the oldest first', { maxAgeMs: 60 * MINUTE }, ['older.png', 'old.png']],
    ['nothing that is kept', { maxAgeMs: 60 * MINUTE, keep: ['older.*'] }, ['old.png']],
    ['the oldest beyond the size', { maxBytes: 250 }, ['older.png', 'old.png']],
    ['never what may still be written, whatever the size', { maxBytes: 0 }, ['older.png', 'old.png', 'new.png']],
    ['never what may still be written, whatever the age', { maxAgeMs: 0 }, ['older.png', 'old.png', 'new.png']],
    ['the oldest while the disk needs it', { needBytes: 150 }, ['older.png', 'old.png']],
  ])('%s', (_what, change, expected) => expect(chosen(files, change)).toEqual(expected));

  it('what is of the future (the clock was set back) stays', () => {
    expect(chosen([file('future.png', -60 * MINUTE)], { maxAgeMs: 0, maxBytes: 0, needBytes: 1_000 })).toEqual([]);
  });

  it('tells how much went and why', () => {
    const selection = selectForRemoval(files, policy({ maxAgeMs: 100 * MINUTE, maxBytes: 250, needBytes: 300 }), NOW);
    expect(selection).toMatchObject({ bytes: 300, reasons: ['1 by age', '1 beyond the size', '1 because the disk is low'] });
  });

  it('properties: young and kept files stay, no older file stays while a newer one of the same standing goes, no more than needed', () => {
    const anyFile = fc.record({
      path: fc.stringMatching(/^[a-c]{1,3}\.(png|keep)$/),
      age: fc.integer({ min: -10, max: 200 }),
      bytes: fc.nat(1_000),
    });
    const anyPolicy = fc.record({
      maxAgeMs: fc.option(fc.integer({ min: 0, max: 200 })),
      maxBytes: fc.option(fc.nat(5_000)),
      needBytes: fc.nat(3_000),
      minAgeMs: fc.integer({ min: 1, max: 50 }),
    });
    fc.assert(
      fc.property(fc.array(anyFile, { maxLength: 30 }), anyPolicy, (specs, change) => {
        const found = specs.map(({ path, age, bytes }) => file(path, age, bytes));
        const { files: gone, bytes } = selectForRemoval(found, policy({ ...change, keep: ['*.keep'] }), NOW);
        const staying = found.filter(
          (each) => !gone.includes(each) && !each.path.endsWith('.keep') && NOW - each.changedAt >= change.minAgeMs,
        );
        const newest = Math.max(...gone.map((each) => each.changedAt), Number.NEGATIVE_INFINITY);
        expect(gone.every((each) => NOW - each.changedAt >= change.minAgeMs && !each.path.endsWith('.keep'))).toBe(true);
        expect(staying.every((each) => each.changedAt >= newest)).toBe(true);
        expect(bytes).toBe(gone.reduce((sum, each) => sum + each.bytes, 0));
        if (change.maxAgeMs === null && change.maxBytes === null)
          expect(gone.slice(0, -1).reduce((sum, each) => sum + each.bytes, 0)).toBeLessThanOrEqual(Math.max(0, change.needBytes));
      }),
    );
  });
});
