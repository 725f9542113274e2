import { describe, expect, it } from 'vitest';
import { faultRows } from '../../faults/table.ts';
import { faultsDocument, keepTimes, withoutTimes } from '../../support/faults/table.ts';

/** The table of faults: what it must hold, and the document that is made of it. */

const EMPTY = 'head\n<!-- rows: made by `npm run generate` -->\n<!-- end of rows -->\ntail\n';
const row = faultRows[0];

describe('the rows', () => {
  it('are at least sixty, each with a name of its own', () => {
    expect(faultRows.length).toBeGreaterThanOrEqual(60);
    expect(new Set(faultRows.map(({ id }) => id)).size).toBe(faultRows.length);
    expect(faultRows.filter(({ id }) => !/^[a-z0-9-]+$/.test(id))).toEqual([]);
  });

  it('each say what health tells, and that service comes back', () => {
    expect(faultRows.filter(({ health, back }) => health.length === 0 || back.gpus.length === 0).map(({ id }) => id)).toEqual([]);
  });

  it.each([
    ...Array.from({ length: 14 }, (_, index) => `F${index + 1}`),
    ...[1, 2, 3, 4, 5, 6, 8, 9, 10].map((number) => `predecessor ${number}`),
    ...[1, 2, 3, 4, 5, 6, 7].map((number) => `pm2.md 4.${number}`),
  ])('know of %s', (source) => {
    expect(faultRows.some((each) => new RegExp(`${source.replace('.', '\\.')}(?!\\d)`).test(each.source))).toBe(true);
  });
});

describe('the document', () => {
  it('has a line for each row, with the times of the report', () => {
    if (row === undefined) throw new Error('no rows');
    const report = { id: row.id, ok: true, seenMs: [123, 124], backMs: 1_234, tookMs: 2_000, error: null };
    const text = faultsDocument(EMPTY, [row], [report]);
    expect(text).toContain(`| \`${row.id}\` | `);
    expect(text).toContain('123 ms of 500 ms');
    expect(text).toContain('1.2 s of ');
    expect(text.endsWith('tail\n')).toBe(true);
    expect(faultsDocument(text, [row], [report])).toBe(text);
  });

  it('keeps the times of an earlier run for rows without a new one, and is compared without them', () => {
    if (row === undefined) throw new Error('no rows');
    const report = { id: row.id, ok: true, seenMs: [123, 124], backMs: 1_234, tookMs: 2_000, error: null };
    const before = faultsDocument(EMPTY, [row], [report]);
    const now = faultsDocument(before, [row], []);
    expect(now).not.toBe(before);
    expect(keepTimes(before, now)).toBe(before);
    expect(withoutTimes(before)).toBe(now);
  });

  it('is not made where its marks are lost', () => {
    expect(() => faultsDocument('no marks', faultRows, [])).toThrow(/has lost its line/);
  });
});
