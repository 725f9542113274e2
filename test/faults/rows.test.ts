import { mkdirSync, writeFileSync } from 'node:fs';
import { dirname, resolve } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { runRows } from '../support/faults/lanes.ts';
import type { RowReport } from '../support/faults/row.ts';
import { whyNot } from '../support/faults/stages.ts';
import { faultRows } from './table.ts';

/**
 * Every row of the table, on real agents, real PM2 and the simulator. FAULTS names rows by a regular expression, FAULTS_LANES
 * says how many agents run side by side; the measured times go to dist/faults-report.json, from which docs/faults.md is made.
 */

const REPORT = resolve(import.meta.dirname, '../../dist/faults-report.json');
const wanted = new RegExp(process.env['FAULTS'] ?? '');
const rows = faultRows.filter(({ id }) => wanted.test(id));
const reports: RowReport[] = [];
const running = runRows(rows.filter(({ stage }) => whyNot(stage) === null));

afterAll(async () => {
  await running.ended;
  mkdirSync(dirname(REPORT), { recursive: true });
  writeFileSync(REPORT, `${JSON.stringify(reports, null, 2)}\n`);
});

describe('a fault', () => {
  it.for(rows.map((row) => ({ id: row.id, fault: row.fault, missing: whyNot(row.stage) })))(
    '$id: $fault',
    async ({ id, missing }, { skip }) => {
      if (missing !== null) return skip(missing);
      const report = await running.reports.get(id);
      if (report === undefined) throw new Error(`no row ${id}`);
      reports.push(report);
      if (process.env['FAULTS_VERBOSE'] !== undefined) console.log(JSON.stringify({ ...report, error: undefined }));
      expect(report.error).toBeNull();
    },
  );
});
