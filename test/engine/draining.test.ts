import { describe, expect, it } from 'vitest';
import { isQueueOld, noteDraining, ON_THE_WAY_MS, queuesToRead } from '../../src/engine/draining.ts';
import type { Knowledge } from '../../src/engine/knowledge.ts';

/** What these functions look at; a queue was read at `readAt`. */
const knowing = (draining: boolean, readAt: number, drainingSince = new Map<number, number>()): Knowledge =>
  ({
    desired: { instances: [{ gpu: 0, name: 'comfyui-gpu0', draining }] },
    probes: new Map([['comfyui-gpu0', new Map([['http', { latest: { at: readAt } }]])]]),
    drainingSince,
  }) as unknown as Knowledge;

describe('a queue while an instance drains', () => {
  it('counts only when it was read since, and after what was on the way by then', () => {
    const before = knowing(true, 900);
    noteDraining(before, 1_000);
    expect(isQueueOld(before, 0)).toBe(true);
    expect(queuesToRead(before, new Map())).toEqual([0]);
    const soon = knowing(true, 1_000 + ON_THE_WAY_MS - 1, before.drainingSince);
    expect(isQueueOld(soon, 0)).toBe(true);
    const after = knowing(true, 1_000 + ON_THE_WAY_MS, before.drainingSince);
    noteDraining(after, 1_200);
    expect(isQueueOld(after, 0)).toBe(false);
    expect(queuesToRead(after, new Map())).toEqual([]);
  });

  it('counts as ever when it does not drain, or not any more', () => {
    const knowledge = knowing(true, 900);
    noteDraining(knowledge, 1_000);
    const uncordoned = knowing(false, 900, knowledge.drainingSince);
    noteDraining(uncordoned, 1_100);
    expect(isQueueOld(uncordoned, 0)).toBe(false);
  });

  it('is read soon for whose turn it is in a rollout', () => {
    const turns = new Map([
      [0, { since: 0, looked: false, up: true }],
      [1, { since: 0, looked: true, up: true }],
    ]);
    expect(queuesToRead(knowing(false, 0), turns)).toEqual([0]);
  });
});
