import { describe, expect, it } from 'vitest';
import { type Lane, Lanes } from '../../src/engine/lanes.ts';
import { createGate } from '../support/gate.ts';

const lanes = () => {
  let ends = 0;
  const all = new Lanes(() => {
    ends += 1;
  });
  const begin = (target: Parameters<Lanes['begin']>[0]) => {
    const gate = createGate();
    let lane: Lane | null = null;
    all.begin(target, async (own) => {
      lane = own;
      await gate.passed();
    });
    return { end: gate.open, lane: (): Lane | null => lane };
  };
  return { all, begin, ends: () => ends };
};

describe('actions under way', () => {
  it('are one for each target, side by side for others', async () => {
    const { all, begin, ends } = lanes();
    const first = begin('instance 0');
    expect(begin('instance 0').lane()).toBeNull();
    const other = begin('instance 1');
    expect(other.lane()).not.toBeNull();
    expect([...all.busy]).toEqual(['instance 0', 'instance 1']);
    other.end();
    first.end();
    await all.settled();
    expect([all.busy.size, ends()]).toEqual([0, 2]);
    expect(begin('instance 0').lane()).not.toBeNull();
  });

  it('mark their instance as ending until they are over, or spare it', async () => {
    const { all, begin } = lanes();
    const [ending, spared] = [begin('instance 0'), begin('instance 1')];
    expect([...all.ending]).toEqual([]);
    for (const { lane } of [ending, spared]) lane()?.ends();
    spared.lane()?.spares();
    expect([...all.ending]).toEqual(['instance 0']);
    ending.end();
    spared.end();
    await all.settled();
    expect([...all.ending]).toEqual([]);
  });

  it('are told as acting until a look that began after them has ended', async () => {
    const { all, begin } = lanes();
    const action = begin('rollout');
    const before = all.beginLook();
    action.end();
    await all.settled();
    before();
    expect([...all.acting]).toEqual(['rollout']);
    const after = all.beginLook();
    expect([...all.acting]).toEqual(['rollout']);
    after();
    expect([...all.acting]).toEqual([]);
  });
});
