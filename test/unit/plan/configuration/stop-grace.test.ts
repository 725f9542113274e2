import { describe, expect, it } from 'vitest';
import { Config } from '../../../../src/domain/configuration/config.ts';
import { seconds } from '../../../../src/plan/configuration/environment-values.ts';
import { stopDrainMs } from '../../../../src/plan/configuration/stop-grace.ts';

describe('stopDrainMs', () => {
  it.each([
    [{}, 600_000],
    [{ stopGraceMs: 60_000 }, 45_000],
    [{ stopGraceMs: 60_000, killTimeoutMs: 5_000 }, 55_000],
    [{ stopGraceMs: 10_000 }, 5_000],
    [{ stopGraceMs: 0 }, 0],
  ])('%j', (pm2, expected) => expect(stopDrainMs(Config.parse({ pm2 }))).toBe(expected));
});

describe('AGENT_STOP_GRACE', () => {
  it.each([
    ['55s', { value: 55_000 }],
    ['2m', { value: 120_000 }],
    ['1500ms', { value: 1_500 }],
    ['30', { value: 30_000 }],
    ['soon', { allowed: 'a time such as 55s or 2m' }],
    ['-5', { allowed: 'a time such as 55s or 2m' }],
  ])('%s', (written, reading) => expect(seconds(written)).toEqual(reading));
});
