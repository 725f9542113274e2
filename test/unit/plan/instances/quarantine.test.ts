import { describe, expect, it } from 'vitest';
import { nextQuarantine, trialDueAt } from '../../../../src/plan/instances/quarantine.ts';

const MINUTE = 60_000;
const settings = { coolDownMs: 10 * MINUTE, maxCoolDownMs: 60 * MINUTE };
const NOW = 1_000_000 * MINUTE;

describe('how long an instance stays in quarantine', () => {
  /** One relapse after the other, each just after it was set free. */
  const afterRelapses = (count: number) => {
    let quarantine = nextQuarantine(null, 'crash-loop', settings, NOW);
    for (let relapse = 0; relapse < count; relapse += 1)
      quarantine = nextQuarantine({ ...quarantine, releasedAt: NOW }, 'crash-loop', settings, NOW + MINUTE);
    return quarantine;
  };

  it.each([
    [0, 10],
    [1, 20],
    [2, 40],
    [3, 60],
    [9, 60],
  ])('after %i relapses it is tried again in %i minutes', (relapses, minutes) => {
    const quarantine = afterRelapses(relapses);
    expect(quarantine.count).toBe(relapses + 1);
    expect((trialDueAt(quarantine, settings) ?? 0) - quarantine.at).toBe(minutes * MINUTE);
  });

  it.each([
    ['never, without a cool-down', afterRelapses(0), { ...settings, coolDownMs: null }],
    ['never, when it is in none', null, settings],
  ])('it is tried %s', (_, quarantine, given) => expect(trialDueAt(quarantine, given)).toBeNull());

  it.each([
    ['soon after it was set free', 1, 2],
    ['long after it was set free', 24 * 60, 1],
  ])('a fault %s counts as its quarantine number %s', (_, minutes, count) => {
    const free = { ...afterRelapses(0), releasedAt: NOW };
    expect(nextQuarantine(free, 'crash-loop', settings, NOW + minutes * MINUTE).count).toBe(count);
  });

  it('one that was never set free goes on counting', () => {
    expect(nextQuarantine(afterRelapses(1), 'crash-loop', settings, NOW + 10_000 * MINUTE).count).toBe(3);
  });
});
