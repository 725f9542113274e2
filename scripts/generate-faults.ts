import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { resolve } from 'node:path';
import { faultRows } from '../test/faults/table.ts';
import type { RowReport } from '../test/support/faults/row.ts';
import { faultsDocument, keepTimes, withoutTimes } from '../test/support/faults/table.ts';

/**
 * Writes the table of docs/faults.md from the rows of the fault suite, with the times of its last run (dist/faults-report.json,
 * if there was one); `--check` only compares, times aside.
 */

const path = resolve(import.meta.dirname, '../docs/faults.md');
const reportPath = resolve(import.meta.dirname, '../dist/faults-report.json');
const isCheck = process.argv.includes('--check');
const reports = !isCheck && existsSync(reportPath) ? (JSON.parse(readFileSync(reportPath, 'utf8')) as RowReport[]) : [];

const before = readFileSync(path, 'utf8');
const now = keepTimes(before, faultsDocument(before, faultRows, reports));
if (isCheck) {
  if (withoutTimes(now) !== withoutTimes(before)) {
    console.error('docs/faults.md is not what the rows of the fault suite say: run `npm run generate`');
    process.exitCode = 1;
  }
} else if (now !== before) {
  writeFileSync(path, now);
  console.log(`${path}: ${faultRows.length} faults, ${reports.filter(({ ok }) => ok).length} with new times`);
}
