import { describe, expect, it } from 'vitest';
import { SingleFlight } from '../../src/engine/single-flight.ts';
import { createGate } from '../support/gate.ts';

/** Work whose turns end when they are let. */
const flight = () => {
  const turns: { readonly end: () => void; readonly fail: (error: Error) => void }[] = [];
  const errors: unknown[] = [];
  let running = 0;
  let most = 0;
  const single = new SingleFlight(
    async () => {
      running += 1;
      most = Math.max(most, running);
      const gate = createGate();
      let failure: Error | null = null;
      turns.push({
        end: gate.open,
        fail: (error) => {
          failure = error;
          gate.open();
        },
      });
      await gate.passed();
      running -= 1;
      if (failure !== null) throw failure;
    },
    (error) => errors.push(error),
  );
  return { single, turns, errors, most: () => most };
};
const settled = () => new Promise<void>((done) => setImmediate(done));

describe('work that is done by one at a time', () => {
  it('is done once more for all who asked while it ran, and never side by side', async () => {
    const { single, turns, most } = flight();
    const ends: string[] = [];
    void single.ask().then(() => ends.push('first'));
    for (const name of ['second', 'third']) void single.ask().then(() => ends.push(name));
    expect(turns).toHaveLength(1);
    turns[0]?.end();
    await settled();
    expect([turns.length, ends]).toEqual([2, []]);
    turns[1]?.end();
    await settled();
    expect([turns.length, ends, most()]).toEqual([2, ['first', 'second', 'third'], 1]);
    void single.ask();
    expect(turns).toHaveLength(3);
  });

  it('that fails is told, and is done again when it is asked for', async () => {
    const { single, turns, errors } = flight();
    const asked = single.ask();
    turns[0]?.fail(new Error('no'));
    await asked;
    expect(errors).toEqual([new Error('no')]);
    void single.ask();
    expect(turns).toHaveLength(2);
  });

  it('ends with the turn that runs, whoever asked for another', async () => {
    const { single, turns } = flight();
    void single.ask();
    void single.ask();
    const closed = single.close();
    turns[0]?.end();
    await closed;
    expect(turns).toHaveLength(1);
  });
});
