import { expect, it } from 'vitest';
import type { GpuReading } from '../../../../src/domain/cards/gpu.ts';
import { known, unknown } from '../../../../src/domain/observed.ts';
import { cardRemarks } from '../../../../src/plan/cards/remarks.ts';
import { aGpu, aReading } from '../../../support/machine/builders.ts';

const CARDS = known(aReading(aGpu(0), aGpu(1)));
const tell = (change: Partial<GpuReading>) => {
  const { machine, cards } = cardRemarks(known({ ...aReading(aGpu(0), aGpu(1)), ...change }), CARDS);
  return { machine, cards: Object.fromEntries(cards) };
};

it('a line that names a card is told on it, once; any other on the machine', () => {
  const warning = { uuid: 'GPU-00000001', words: 'WARNING: infoROM is corrupted' };
  expect(tell({ remarks: [warning, warning, { uuid: null, words: 'be careful' }, { uuid: 'GPU-elsewhere', words: 'hot' }] })).toEqual({
    machine: ['nvidia-smi: be careful', 'nvidia-smi: hot'],
    cards: { 'GPU-00000001': ['nvidia-smi: WARNING: infoROM is corrupted'] },
  });
});

it('a card that cannot be reached is told by its instance, and on the machine where it has none', () => {
  const words = 'Unable to determine the device handle';
  expect(tell({ unreachable: [{ uuid: null, pciBusId: '0000:01:00', words }] })).toEqual({ machine: [], cards: {} });
  expect(tell({ unreachable: [{ uuid: 'GPU-00000001', pciBusId: null, words }] })).toEqual({ machine: [], cards: {} });
  expect(tell({ unreachable: [{ uuid: null, pciBusId: '0000:43:00', words }] }).machine).toEqual([
    `a card is not used, because the driver cannot reach it: ${words}`,
  ]);
});

it('says nothing while the driver does not answer', () => {
  expect(cardRemarks(unknown('hangs'), CARDS).machine).toEqual([]);
});
