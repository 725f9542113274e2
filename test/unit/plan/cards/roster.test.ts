import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { Gpu, GpuReading } from '../../../../src/domain/cards/gpu.ts';
import { known, unknown } from '../../../../src/domain/observed.ts';
import { acceptCards, cardsOfRoster, rosterOf, updateRoster } from '../../../../src/plan/cards/roster.ts';
import { driverTrouble } from '../../../../src/plan/faults/driver-gone.ts';
import { aGpu, aReading } from '../../../support/machine/builders.ts';

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
    expect(ids(cards)).toEqual(['0 GPU-00000000 missing', '1 GPU-00000001', '2 GPU-00000002']);
    const back = updateRoster(known(cards), aReading(aGpu(0), aGpu(1), aGpu(2)));
    expect(ids(back.listed)).toEqual(['0 GPU-00000000', '1 GPU-00000001', '2 GPU-00000002']);
  });

  it('a card in the place of another waits for its slot, and takes none', () => {
    const before = known(aReading(aGpu(0), aGpu(1), aGpu(2)));
    const other = { ...aGpu(2), uuid: 'GPU-b' };
    const { cards, listed } = updateRoster(before, aReading({ ...aGpu(0), uuid: 'GPU-a' }, aGpu(1), other));
    expect(ids(cards)).toEqual(['0 GPU-00000000 missing', '1 GPU-00000001', '2 GPU-00000002 missing']);
    expect(cards.waiting?.map(({ gpu, slot, formerly }) => [gpu.uuid, slot, formerly])).toEqual([
      ['GPU-a', 0, 'GPU-00000000'],
      ['GPU-b', 2, 'GPU-00000002'],
    ]);
    expect(ids(listed)).toEqual(['1 GPU-00000001', '3 GPU-a', '4 GPU-b']);
  });

  it('by its place on the bus first; a card too many has a slot of its own', () => {
    const before = known(aReading(aGpu(0), aGpu(1)));
    const elsewhere = aGpu(7, { uuid: 'GPU-elsewhere' });
    const { cards } = updateRoster(before, aReading(aGpu(0), elsewhere, { ...aGpu(1), uuid: 'GPU-there' }));
    expect(cards.waiting?.map(({ gpu, slot }) => [gpu.uuid, slot])).toEqual([['GPU-there', 1]]);
    expect(ids(cards)).toEqual(['0 GPU-00000000', '1 GPU-00000001 missing', '7 GPU-elsewhere']);
  });

  it('a card that waited has a slot of its own once the missing one is back', () => {
    const before = updateRoster(known(aReading(aGpu(0), aGpu(1))), aReading(aGpu(0), { ...aGpu(1), uuid: 'GPU-new' })).cards;
    const { cards } = updateRoster(known(before), aReading(aGpu(0), aGpu(1), aGpu(2, { uuid: 'GPU-new' })));
    expect(ids(cards)).toEqual(['0 GPU-00000000', '1 GPU-00000001', '2 GPU-new']);
    expect(cards.waiting).toBeUndefined();
  });

  it('a card that does not answer keeps what it is', () => {
    const card = aGpu(0, { migMode: 'enabled', migDevices: [{ uuid: 'MIG-1', profile: null }] });
    const silent = aGpu(0, { state: 'lost', name: 'NVIDIA GPU', memoryTotalBytes: null, pciBusId: null });
    const { listed } = updateRoster(known(aReading(card)), aReading(silent));
    expect(listed.gpus[0]).toMatchObject({
      state: 'lost',
      migDevices: [{ uuid: 'MIG-1', profile: null }],
      name: 'NVIDIA Test',
      pciBusId: '0000:00:00',
    });
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

describe('a roster of an earlier agent', () => {
  const left = cardsOfRoster(
    rosterOf(aReading(aGpu(0), aGpu(1, { migMode: 'enabled', migDevices: [{ uuid: 'MIG-1', profile: null }] }), aGpu(2))),
    NEVER,
  );

  it('has nothing to say where there is none', () => {
    expect(cardsOfRoster([], NEVER)).toEqual(NEVER);
  });

  it('keeps what an instance is started with, and tells nothing of the present', () => {
    expect(left).toMatchObject({
      known: true,
      value: { gpus: [{ state: 'unread' }, { migDevices: [{ uuid: 'MIG-1', profile: null }], temperatureC: null }, {}] },
    });
  });

  it('is not taken over while one of its cards is there', () => {
    const { cards, takenOver } = updateRoster(left, aReading(aGpu(0, { uuid: 'GPU-new' }), aGpu(2, { index: 1 })));
    expect(ids(cards)).toEqual(['0 GPU-00000000 missing', '1 GPU-00000001 missing', '2 GPU-00000002']);
    expect(takenOver).toEqual([]);
  });

  it('is taken over where none is, and only by the first reading', () => {
    const others = aReading(aGpu(0, { uuid: 'GPU-a' }), aGpu(1, { uuid: 'GPU-b' }));
    const { cards, takenOver } = updateRoster(left, others);
    expect(ids(cards)).toEqual(['0 GPU-a', '1 GPU-b']);
    expect(takenOver).toHaveLength(3);
    expect(updateRoster(known(aReading(aGpu(0))), others).takenOver).toEqual([]);
  });

  it('a driver that lists nothing takes nothing over', () => {
    expect(updateRoster(left, aReading()).takenOver).toEqual([]);
  });
});

describe('acceptCards', () => {
  it('forgets what is missing and gives replacements their slots', () => {
    const before = known(aReading(aGpu(0), aGpu(1), aGpu(2), aGpu(3)));
    const { cards, listed } = updateRoster(before, aReading(aGpu(0), { ...aGpu(1), uuid: 'GPU-new' }, aGpu(2)));
    const accepted = acceptCards(cards, listed);
    expect(ids(accepted.cards)).toEqual(['0 GPU-00000000', '1 GPU-new', '2 GPU-00000002']);
    expect(ids(accepted.listed)).toEqual(['0 GPU-00000000', '2 GPU-00000002', '1 GPU-new']);
    expect(accepted.forgotten.map(({ uuid }) => uuid)).toEqual(['GPU-00000003']);
    expect(acceptCards(accepted.cards, accepted.listed)).toMatchObject({ forgotten: [], replaced: [] });
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
