import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { Gpu, GpuReading } from '../../../src/domain/gpu.ts';
import { known, unknown } from '../../../src/domain/observed.ts';
import { updateRoster } from '../../../src/plan/card-roster.ts';
import { driverTrouble } from '../../../src/plan/verdicts/driver-gone.ts';
import { aGpu, aReading } from '../../support/builders.ts';

const NEVER = unknown('not looked yet');
const ids = (reading: GpuReading): string[] =>
  reading.gpus.map(({ index, uuid, state }) => `${index} ${uuid}${state === 'ok' ? '' : ` ${state}`}`);
/** As nvidia-smi numbers what is left. */
const renumbered = (...gpus: Gpu[]): GpuReading => aReading(...gpus.map((gpu, index) => ({ ...gpu, index })));

describe('updateRoster', () => {
  it('takes the first reading as it is', () => {
    const { cards, listed } = updateRoster(NEVER, aReading(aGpu(0), aGpu(1)));
    expect(ids(cards)).toEqual(['0 GPU-00000000', '1 GPU-00000001']);
    expect(listed).toEqual(cards);
  });

  it('a card that is gone keeps its place, and the others their numbers', () => {
    const before = updateRoster(NEVER, aReading(aGpu(0), aGpu(1), aGpu(2))).cards;
    const { cards, listed } = updateRoster(known(before), renumbered(aGpu(1), aGpu(2)));
    expect(ids(listed)).toEqual(['1 GPU-00000001', '2 GPU-00000002']);
    expect(ids(cards)).toEqual(['0 GPU-00000000 lost', '1 GPU-00000001', '2 GPU-00000002']);
    const back = updateRoster(known(cards), aReading(aGpu(0), aGpu(1), aGpu(2)));
    expect(ids(back.listed)).toEqual(['0 GPU-00000000', '1 GPU-00000001', '2 GPU-00000002']);
  });

  it('a card in the place of another gets a number of its own', () => {
    const { cards } = updateRoster(known(aReading(aGpu(0), aGpu(1))), aReading({ ...aGpu(0), uuid: 'GPU-new' }, aGpu(1)));
    expect(ids(cards)).toEqual(['0 GPU-00000000 lost', '1 GPU-00000001', '2 GPU-new']);
  });

  it('a card that does not answer keeps what it is', () => {
    const card = aGpu(0, { migMode: 'enabled', migDevices: ['MIG-1'] });
    const silent = aGpu(0, { state: 'lost', name: 'NVIDIA GPU', memoryTotalBytes: null, pciBusId: null });
    const { listed } = updateRoster(known(aReading(card)), aReading(silent));
    expect(listed.gpus[0]).toMatchObject({ state: 'lost', migDevices: ['MIG-1'], name: 'NVIDIA Test', pciBusId: '0000:00:00' });
  });

  it('never changes a number and never gives one twice, whatever comes and goes', () => {
    const readings = fc.array(fc.uniqueArray(fc.integer({ min: 0, max: 7 }), { maxLength: 8 }), { maxLength: 8 });
    fc.assert(
      fc.property(readings, (series) => {
        let roster: GpuReading = aReading();
        const numbers = new Map<string, number>();
        for (const present of series) {
          const next = updateRoster(known(roster), renumbered(...present.map((card) => aGpu(0, { uuid: `GPU-${card}` }))));
          roster = next.cards;
          expect(new Set(roster.gpus.map(({ index }) => index)).size).toBe(roster.gpus.length);
          expect(next.listed.gpus.map(({ uuid }) => uuid).sort()).toEqual(present.map((card) => `GPU-${card}`).sort());
          for (const { uuid, index } of roster.gpus) {
            expect(numbers.get(uuid) ?? index).toBe(index);
            numbers.set(uuid, index);
          }
        }
      }),
    );
  });
});

describe('driverTrouble', () => {
  it.each([
    ['cards are listed', known(aReading(aGpu(0))), known(aReading(aGpu(0))), null],
    ['none ever was', known({ present: true, gpus: [] }), known({ present: true, gpus: [] }), null],
    ['not asked yet', NEVER, NEVER, null],
    [
      'it does not answer',
      unknown('nvidia-smi did not answer within 5000 ms'),
      known(aReading(aGpu(0))),
      'nvidia-smi did not answer within 5000 ms',
    ],
    [
      'it lists none any more',
      known({ present: true, gpus: [] }),
      known(aReading(aGpu(0), aGpu(1))),
      'the driver lists no card any more; there were 2',
    ],
    [
      'it is not there any more',
      known({ present: false, gpus: [] }),
      known(aReading(aGpu(0))),
      'there is no NVIDIA driver any more; there was one card',
    ],
  ])('%s', (_, gpus, cards, trouble) => {
    expect(driverTrouble(gpus, cards)).toBe(trouble);
  });
});
