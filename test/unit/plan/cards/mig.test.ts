import { describe, expect, it } from 'vitest';
import type { Gpu, GpuReading } from '../../../../src/domain/cards/gpu.ts';
import { Config } from '../../../../src/domain/configuration/config.ts';
import { known, unknown } from '../../../../src/domain/observed.ts';
import { divideCards, keptParts, unusedParts } from '../../../../src/plan/cards/mig.ts';
import { updateRoster } from '../../../../src/plan/cards/roster.ts';
import { chooseCards, visibleDevices } from '../../../../src/plan/resolve.ts';
import { aGpu, aReading } from '../../../support/machine/builders.ts';

const device = (uuid: string) => ({ uuid, profile: '3g.20gb' });
/** Card 0 in two parts, card 1 whole, card 2 in three. */
const CARDS = aReading(
  aGpu(0, { migMode: 'enabled', migDevices: [device('MIG-a0'), device('MIG-a1')], memoryUsedBytes: 5, utilisationPercent: 3 }),
  aGpu(1),
  aGpu(2, { migMode: 'enabled', migDevices: [device('MIG-c0'), device('MIG-c1'), device('MIG-c2')] }),
);
const pins = (reading: GpuReading): string[] => reading.gpus.map((gpu) => `${gpu.index} ${visibleDevices(gpu, 'uuid')}`);
const choose = (gpu: object, reading: GpuReading) =>
  chooseCards(Config.parse({ gpu: { mode: 'actual', ...gpu } }).gpu, known(reading)).cards.map(
    ({ index, gpu: card }) => `${index} ${card === null ? '' : visibleDevices(card, 'uuid')}`,
  );

describe('gpu.mig', () => {
  it('first: one instance for each card, on the first MIG device; one more device is no card', () => {
    expect(divideCards(CARDS, 'first')).toBe(CARDS);
    expect(pins(CARDS)).toEqual(['0 MIG-a0', '1 GPU-00000001', '2 MIG-c0']);
  });

  it('all: one for each device, the further ones after all cards, which keep their numbers', () => {
    const divided = divideCards(CARDS, 'all');
    expect(pins(divided)).toEqual(['0 MIG-a0', '1 GPU-00000001', '2 MIG-c0', '3 MIG-a1', '4 MIG-c1', '5 MIG-c2']);
    expect(divided.gpus[0]).toMatchObject({ uuid: 'GPU-00000000', partOf: null, name: 'NVIDIA Test MIG 3g.20gb' });
    expect(divided.gpus[3]).toMatchObject({ uuid: 'MIG-a1', partOf: 'GPU-00000000', pciBusId: CARDS.gpus[0]?.pciBusId });
  });

  it('what is measured of the whole card is said of none of its parts', () => {
    for (const gpu of divideCards(CARDS, 'all').gpus.filter(({ index }) => index !== 1))
      expect(gpu).toMatchObject({ memoryTotalBytes: null, memoryUsedBytes: null, utilisationPercent: null });
  });

  it('a process is of the part under which it is listed; one that is listed under the card is of none', () => {
    const process = (pid: number, migDevice: string | null): Gpu['processes'][number] => ({
      pid,
      name: 'python3',
      memoryBytes: 1,
      type: 'compute',
      migDevice,
    });
    const [card] = CARDS.gpus as [Gpu];
    const reading = aReading({ ...card, processes: [process(1, null), process(2, 'MIG-a0'), process(3, 'MIG-a1')] });
    expect(divideCards(reading, 'all').gpus.map(({ processes }) => processes.map(({ pid }) => pid))).toEqual([[2], [3]]);
  });

  it('a card with one MIG device, or none, is as it is', () => {
    const reading = aReading(aGpu(0, { migMode: 'enabled', migDevices: [device('MIG-a0')] }), aGpu(1, { migMode: 'enabled' }));
    expect(divideCards(reading, 'all')).toBe(reading);
  });

  it('a switch to and fro leaves every card its slot, and misses no part', () => {
    const turn = (before: GpuReading, mig: 'first' | 'all') => updateRoster(keptParts(known(before), mig), divideCards(CARDS, mig)).cards;
    const first = updateRoster(unknown('never'), divideCards(CARDS, 'first')).cards;
    const all = turn(first, 'all');
    expect(pins(all)).toEqual(['0 MIG-a0', '1 GPU-00000001', '2 MIG-c0', '3 MIG-a1', '4 MIG-c1', '5 MIG-c2']);
    expect(turn(all, 'first')).toEqual(first);
  });

  it('a part that goes is missing, and another of the same card is its replacement, never a card', () => {
    const before = updateRoster(unknown('never'), divideCards(CARDS, 'all')).cards;
    const [a, b, c] = CARDS.gpus as [Gpu, Gpu, Gpu];
    const fewer = updateRoster(known(before), divideCards(aReading({ ...a, migDevices: [device('MIG-a0')] }, b, c), 'all')).cards;
    expect(fewer.gpus.filter(({ state }) => state === 'missing').map(({ index, uuid }) => `${index} ${uuid}`)).toEqual(['3 MIG-a1']);
    const other = updateRoster(
      known(before),
      divideCards(aReading({ ...a, migDevices: [device('MIG-a0'), device('MIG-new')] }, b, c, aGpu(3)), 'all'),
    ).cards;
    expect(other.waiting?.map(({ gpu, slot }) => [gpu.uuid, slot])).toEqual([['MIG-new', 3]]);
    expect(other.gpus.map(({ uuid }) => uuid)).toContain('GPU-00000003');
  });

  it.each([
    [{ cards: ['GPU-00000000'] }, ['0 MIG-a0', '3 MIG-a1']],
    [{ cards: ['MIG-c1'] }, ['4 MIG-c1']],
    [{ cards: [2] }, ['2 MIG-c0']],
    [{ cudaVisibleDevices: 'GPU-00000001,MIG-a1' }, ['1 GPU-00000001', '3 MIG-a1']],
    [{ nvidiaVisibleDevices: '0:1,2:0' }, ['2 MIG-c0', '3 MIG-a1']],
    [{ count: 4 }, ['0 MIG-a0', '1 GPU-00000001', '2 MIG-c0', '3 MIG-a1']],
  ])('all, narrowed by %j', (limit, expected) => {
    expect(choose({ mig: 'all', ...limit }, divideCards(CARDS, 'all'))).toEqual(expected);
  });

  it.each([
    [{ cards: ['MIG-c1'] }, ['2 MIG-c1']],
    [{ nvidiaVisibleDevices: '0:1' }, ['0 MIG-a1']],
    [{ cards: ['GPU-00000002'] }, ['2 MIG-c0']],
  ])('first, narrowed by %j', (limit, expected) => {
    expect(choose(limit, CARDS)).toEqual(expected);
  });

  it('parts that nobody uses are told with first', () => {
    expect(CARDS.gpus.map((gpu) => unusedParts(gpu, visibleDevices(gpu, 'uuid')).map(({ uuid }) => uuid))).toEqual([
      ['MIG-a1'],
      [],
      ['MIG-c1', 'MIG-c2'],
    ]);
  });
});
