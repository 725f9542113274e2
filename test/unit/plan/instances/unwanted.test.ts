import { describe, expect, it } from 'vitest';
import type { ConfigInput } from '../../../../src/domain/configuration/config.ts';
import { known, NOT_LOOKED_YET, unknown } from '../../../../src/domain/observed.ts';
import type { DesiredState, ObservedState } from '../../../../src/domain/state/state.ts';
import { findUnwanted, planUnwanted, type Unwanted } from '../../../../src/plan/instances/unwanted.ts';
import { aGpu, aHealthyMachine, anInstance, aReading, NOW } from '../../../support/machine/builders.ts';

/** Two processes run; the instance of the first is wanted. */
function look(gpu: ConfigInput['gpu'], wish: Partial<DesiredState>, seen: Partial<ObservedState>) {
  const { config, desired, observed } = aHealthyMachine(gpu === undefined ? {} : { gpu });
  return { config, desired: { ...desired, instances: [anInstance(0)], ...wish }, observed: { ...observed, ...seen } };
}
const ACTUAL = { mode: 'actual' as const };
const unused = [{ gpu: 1, uuid: 'GPU-00000001', reason: '1 of 2 cards are asked for' }];
const reasonsOf = (found: ReadonlyMap<string, Unwanted>) => [...found].map(([name, { reason }]) => `${name}: ${reason}`);

describe('a process that no instance asks for', () => {
  it.each<[string, ReturnType<typeof look>, string[]]>([
    ['ComfyUI is off', look(ACTUAL, { enabled: false }, {}), ['comfyui-gpu1: ComfyUI is disabled']],
    ['fewer mock cards', look({ mode: 'mock' }, {}, {}), ['comfyui-gpu1: 1 instance is asked for (gpu.mode: mock)']],
    [
      'fewer cards by configuration',
      look(ACTUAL, { unused }, { gpus: known(aReading(aGpu(0), aGpu(1))) }),
      ['comfyui-gpu1: 1 of 2 cards are asked for'],
    ],
    ['the card is in no list', look(ACTUAL, {}, { gpus: known(aReading(aGpu(0))) }), ['comfyui-gpu1: no card has its place']],
    ['its card is listed', look(ACTUAL, {}, { gpus: known(aReading(aGpu(0), aGpu(1))) }), []],
    ['the cards were not read', look(ACTUAL, {}, { gpus: unknown(NOT_LOOKED_YET) }), []],
    ['the driver is silent', look(ACTUAL, {}, { gpus: unknown('no answer') }), []],
    ['the driver lists no card', look(ACTUAL, {}, { gpus: known(aReading()) }), []],
    ['there is no driver', look(ACTUAL, { instances: [] }, { gpus: known({ present: false, gpus: [] }) }), []],
    ['PM2 is out of reach', look(ACTUAL, { enabled: false }, { processes: unknown('PM2') }), []],
  ])('%s', (_, seen, expected) => expect(reasonsOf(findUnwanted(seen, new Map(), NOW))).toEqual(expected));

  it('is removed when a second look finds the same, and its jobs are done', () => {
    const first = look({ mode: 'mock' }, {}, {});
    const once = findUnwanted(first, new Map(), NOW);
    expect(planUnwanted(first, once)).toMatchObject({
      actions: [],
      holds: [{ code: 'DRAINING', reason: expect.stringContaining('second look') }],
    });
    const later = (afterMs: number, jobs: number | null) =>
      look({ mode: 'mock' }, {}, { at: NOW + afterMs, unwantedQueues: new Map([['comfyui-gpu1', { askedAt: NOW + afterMs, jobs }]]) });
    const twice = findUnwanted(later(2_000, 0), once, NOW);
    const doneAt = (afterMs: number, jobs: number | null) => planUnwanted(later(afterMs, jobs), twice).actions.length;
    expect([doneAt(100, 0), doneAt(2_000, 1), doneAt(2_000, null), doneAt(2_000, 0), doneAt(600_000, 1)]).toEqual([0, 0, 0, 1, 1]);
  });

  it('of which only the cards tell is believed by two readings of them', () => {
    const seen = look(ACTUAL, {}, { gpus: known(aReading(aGpu(0))) });
    const once = findUnwanted(seen, new Map(), NOW);
    const same = findUnwanted(seen, once, NOW);
    expect(same.get('comfyui-gpu1')?.agreed).toBe(false);
    expect(findUnwanted(seen, same, NOW + 10_000).get('comfyui-gpu1')?.agreed).toBe(true);
  });

  it('begins anew when the reason is another one, or was away', () => {
    const missing = look(ACTUAL, {}, { gpus: known(aReading(aGpu(0))) });
    const listed = look(ACTUAL, {}, { gpus: known(aReading(aGpu(0), aGpu(1))) });
    const back = findUnwanted(missing, findUnwanted(listed, findUnwanted(missing, new Map(), NOW), NOW + 1), NOW + 2);
    expect(back.get('comfyui-gpu1')?.agreed).toBe(false);
    const off = findUnwanted(look(ACTUAL, { enabled: false }, {}), findUnwanted(missing, new Map(), NOW), NOW + 2);
    expect(off.get('comfyui-gpu1')).toMatchObject({ reason: 'ComfyUI is disabled', agreed: false });
  });
});
