import { mkdirSync, writeFileSync } from 'node:fs';
import { dirname, resolve } from 'node:path';
import { describe, expect, it } from 'vitest';
import { LIMIT_FACTOR } from '../support/faults/row.ts';
import { runStorm } from '../support/faults/storm.ts';

/**
 * Random faults on four instances under a constant stream of prompts: STORM_SECONDS says how long, STORM_SEED repeats a run,
 * STORM_CARDS=mock makes it without a driver. The report goes to dist/storm-report.json.
 */

const SECONDS = Number(process.env['STORM_SECONDS'] ?? '180');
const SEED = Number(process.env['STORM_SEED'] ?? Date.now() % 1_000_000);
const CARDS = process.env['STORM_CARDS'] === 'mock' ? 'mock' : 'fake driver';
const REPORT = resolve(import.meta.dirname, '../../dist/storm-report.json');

/** Share of fault time in which health may be wrong beyond its limits; here with the usual allowance for a busy machine. */
const FALSE_SHARE = 0.01 * LIMIT_FACTOR;
const HEALTH_P99_MS = 10 * LIMIT_FACTOR;

describe('a storm of faults', () => {
  it(`of ${SECONDS} s with cards by ${CARDS} leaves every instance healthy, and health told the truth`, {
    timeout: (SECONDS + 240) * 1_000,
  }, async () => {
    console.log(`STORM_SEED=${SEED}`);
    const report = await runStorm({
      durationMs: SECONDS * 1_000,
      seed: SEED,
      cards: CARDS,
      onFault: (line) => process.env['STORM_VERBOSE'] !== undefined && console.log(new Date().toISOString(), line),
    });
    mkdirSync(dirname(REPORT), { recursive: true });
    writeFileSync(REPORT, `${JSON.stringify(report, null, 2)}\n`);
    console.log(JSON.stringify(report, null, 2));
    expect(report.problems).toEqual([]);
    expect(report.serving).toBe(4);
    expect(report.leftOver).toEqual([]);
    expect(report.oversized).toEqual([]);
    expect(report.witness.health.errors).toBe(0);
    // What the machine does to the witness it does to the agent too, several times for one answer.
    expect(report.witness.health.p99Ms).toBeLessThan(HEALTH_P99_MS + LIMIT_FACTOR * report.witness.lateP99Ms);
    expect(report.witness.falseGreenMs).toBeLessThanOrEqual(FALSE_SHARE * report.witness.faultMs);
    expect(report.witness.falseRedMs).toBe(0);
    expect(report.stream.done).toBeGreaterThan(0);
  });
});
