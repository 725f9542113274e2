import { describe, expect, it } from 'vitest';
import type { DesiredInstance } from '../../../../src/domain/instances/instance.ts';
import { driverHold, heldRemedies, trialHold } from '../../../../src/plan/instances/driver-hold.ts';
import type { Exit } from '../../../../src/plan/instances/restart-policy.ts';
import { anInstance, aProcess, aVerdict, NOW } from '../../../support/machine/builders.ts';

const GONE = { reason: 'nvidia-smi did not answer within 5000 ms', since: NOW, unread: false };
const onCard = (change: Partial<DesiredInstance> = {}) => anInstance(0, { mode: 'gpu', ...change });
const end = (at: number, wanted = false): Exit => ({ at, reason: 'exit code 1', wanted });

describe('driverHold', () => {
  it.each<readonly [string, DesiredInstance, readonly Exit[], boolean]>([
    ['it ended since', onCard(), [end(NOW + 1_000)], true],
    ['it ended just before that was seen', onCard(), [end(NOW - 9_000)], true],
    ['it ended long before', onCard(), [end(NOW - 60_000)], false],
    ['it never ended', onCard(), [], false],
    ['we ended it', onCard(), [end(NOW + 1_000, true)], false],
    ['it runs on the CPU', anInstance(0), [end(NOW + 1_000)], false],
    ['it is to be stopped', onCard({ desired: 'stopped' }), [end(NOW + 1_000)], false],
    ['it drains', onCard({ draining: true }), [end(NOW + 1_000)], false],
    ['it is quarantined', onCard({ quarantined: 'for its sins' }), [end(NOW + 1_000)], false],
  ])('%s: %#', (_, instance, exits, isHeld) => {
    expect(driverHold(GONE, instance, aProcess(0), { exits, works: false }) !== null).toBe(isHeld);
    expect(driverHold(null, instance, aProcess(0), { exits, works: false })).toBeNull();
    expect(driverHold(GONE, instance, aProcess(0), { exits, works: true })).toBeNull();
  });

  it.each([
    ['online', true],
    ['waiting restart', true],
    ['stopped', false],
    ['errored', false],
  ])('PM2 is stopped from starting it again while it is %s: %s', (status, stop) => {
    expect(driverHold(GONE, onCard(), aProcess(0, { status }), { exits: [end(NOW)], works: false })?.stop).toBe(stop);
    expect(driverHold(GONE, onCard(), null, { exits: [end(NOW)], works: false })?.stop).toBe(false);
  });
});

describe('cards that this agent never saw', () => {
  const unseen = { ...GONE, unread: true };

  it('get no process, and the one that runs is left alone', () => {
    expect(driverHold(unseen, onCard(), null, { exits: [], works: false })).toMatchObject({
      hold: { code: 'GPU_QUERY_FAILED' },
      stop: false,
    });
    expect(driverHold(unseen, onCard(), aProcess(0, { status: 'stopped', pid: null }), { exits: [], works: false })).toMatchObject({
      stop: false,
    });
    expect(driverHold(unseen, onCard(), aProcess(0), { exits: [], works: false })).toBeNull();
    expect(driverHold(unseen, onCard({ desired: 'stopped' }), null, { exits: [], works: false })).toBeNull();
  });
});

describe('heldRemedies', () => {
  const verdicts = [aVerdict({ remedy: 'restart' }), aVerdict({ remedy: 'quarantine' })];

  it('does nothing about any fault of an instance with a card while the driver is gone', () => {
    expect(heldRemedies(GONE, onCard(), verdicts).map(({ remedy }) => remedy)).toEqual(['none', 'none']);
    expect(heldRemedies(null, onCard(), verdicts)).toEqual(verdicts);
    expect(heldRemedies(GONE, anInstance(0), verdicts)).toEqual(verdicts);
  });
});

describe('trialHold', () => {
  it('tries no quarantined instance while the driver is gone', () => {
    expect(trialHold(GONE, onCard({ quarantined: 'for its sins' }))).toMatchObject({ code: 'GPU_QUERY_FAILED', reason: GONE.reason });
    expect(trialHold(null, onCard({ quarantined: 'for its sins' }))).toBeNull();
    expect(trialHold(GONE, onCard())).toBeNull();
    expect(trialHold(GONE, anInstance(0, { quarantined: 'for its sins' }))).toBeNull();
  });
});
