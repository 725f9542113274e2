import { describe, expect, it } from 'vitest';
import { known, unknown } from '../../../src/domain/observed.ts';
import { chooseCards } from '../../../src/plan/resolve.ts';
import { aConfig, aGpu, aReading } from '../../support/machine/builders.ts';

/** Of how many instances a machine is made: 0 of 0 is never called healthy. */
describe('how many instances are wanted', () => {
  const wanted = (gpu: object, reading: Parameters<typeof chooseCards>[1]) =>
    chooseCards(aConfig({ gpu: { mode: 'actual', ...gpu } }).gpu, reading).wanted;
  it.each<[string, object, Parameters<typeof chooseCards>[1], number]>([
    ['one of cards that are not known yet', {}, unknown('not asked yet'), 1],
    ['what was asked for, of cards that are not known yet', { count: 4 }, unknown('not asked yet'), 4],
    ['one where there is no card', {}, known(aReading()), 1],
    ['all cards', {}, known(aReading(aGpu(0), aGpu(1))), 2],
    ['what was asked for, of more cards', { count: 1 }, known(aReading(aGpu(0), aGpu(1))), 1],
    ['what was asked for, of fewer cards', { count: 3 }, known(aReading(aGpu(0))), 3],
  ])('%s', (_, gpu, reading, expected) => expect(wanted(gpu, reading)).toBe(expected));
});
