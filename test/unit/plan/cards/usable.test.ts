import { describe, expect, it } from 'vitest';
import type { ConfigInput } from '../../../../src/domain/configuration/config.ts';
import { known } from '../../../../src/domain/observed.ts';
import { readEnvironment } from '../../../../src/plan/configuration/environment-names.ts';
import { chooseCards } from '../../../../src/plan/resolve.ts';
import { aConfig, aGpu, aReading } from '../../../support/machine/builders.ts';

const FOUR = aReading(aGpu(0), aGpu(1), aGpu(2), aGpu(3, { uuid: 'GPU-abcdef01-2345' }));
const choose = (gpu: ConfigInput['gpu'], reading = FOUR) => chooseCards(aConfig({ gpu: { mode: 'actual', ...gpu } }).gpu, known(reading));
const slots = (gpu: ConfigInput['gpu'], reading = FOUR): number[] => choose(gpu, reading).cards.map(({ index }) => index);

describe('CUDA_VISIBLE_DEVICES of the agent', () => {
  it.each([
    ['2,3', [2, 3], []],
    ['3, 1', [1, 3], []],
    ['GPU-abcd', [3], []],
    ['GPU-00000001,GPU-ABCDEF01-2345', [1, 3], []],
    ['', [], []],
    ['-1', [], []],
    ['1,-1,2', [1], []],
    ['1,9,2', [1], ['CUDA_VISIBLE_DEVICES=1,9,2: 9 is no card of this machine, and CUDA ends the list there']],
    ['GPU-0000', [], [expect.stringContaining('GPU-0000 is no card')]],
    ['0,NoDevFiles', [0], [expect.stringContaining('NoDevFiles')]],
    ['0,,1', [0], [expect.stringContaining('""')]],
  ])('%j means %j', (cudaVisibleDevices, expected, warnings) => {
    expect(slots({ cudaVisibleDevices })).toEqual(expected);
    expect(choose({ cudaVisibleDevices }).warnings).toEqual(warnings);
  });

  it('is the whole of what is wanted, and names the reason of each card that is left out', () => {
    const { wanted, unused } = choose({ cudaVisibleDevices: '2,3' });
    expect(wanted).toBe(2);
    expect(unused).toEqual([0, 1].map((gpu) => ({ gpu, uuid: `GPU-0000000${gpu}`, reason: 'CUDA_VISIBLE_DEVICES=2,3 leaves it out' })));
    expect(choose({ cudaVisibleDevices: '' }).unused.map(({ reason }) => reason)).toContain('CUDA_VISIBLE_DEVICES= names no card at all');
  });

  it('numbers are slots: a card that is gone gives its number to no other', () => {
    const reading = aReading(aGpu(0), aGpu(1), aGpu(2, { state: 'missing', driverIndex: null }), aGpu(3, { driverIndex: 2 }));
    expect(slots({ cudaVisibleDevices: '1,2' }, reading)).toEqual([1, 2]);
    expect(choose({ cudaVisibleDevices: '1,2' }, reading).missing.map(({ gpu }) => gpu)).toEqual([2]);
    expect(choose({ cudaVisibleDevices: '0,1' }, reading).missing).toEqual([]);
  });

  it('a MIG device, in either form', () => {
    const divided = aReading(
      aGpu(0, {
        uuid: 'GPU-aa',
        migMode: 'enabled',
        migDevices: [
          { uuid: 'MIG-1a', profile: null },
          { uuid: 'MIG-2b', profile: null },
        ],
      }),
      aGpu(1),
    );
    const devices = (cudaVisibleDevices: string) =>
      choose({ cudaVisibleDevices }, divided).cards.map(({ gpu }) => gpu?.migDevices.map(({ uuid }) => uuid));
    expect(devices('MIG-2b')).toEqual([['MIG-2b']]);
    expect(devices('MIG-GPU-aa/7/0')).toEqual([['MIG-GPU-aa/7/0']]);
    expect(devices('0,1')).toEqual([['MIG-1a', 'MIG-2b'], []]);
  });

  it('set to nothing speaks, and not set does not', () => {
    const of = (environment: Record<string, string>) => readEnvironment(environment).settings.map(({ key, value }) => [key, value]);
    expect(of({ CUDA_VISIBLE_DEVICES: '' })).toEqual([['gpu.cudaVisibleDevices', '']]);
    expect(of({ NVIDIA_VISIBLE_DEVICES: '2,3', NUM_GPUS: '' })).toEqual([['gpu.nvidiaVisibleDevices', '2,3']]);
    expect(of({})).toEqual([]);
  });
});

describe('NVIDIA_VISIBLE_DEVICES of the agent', () => {
  it.each([
    ['all', [0, 1, 2, 3]],
    ['void', [0, 1, 2, 3]],
    ['', [0, 1, 2, 3]],
    ['none', []],
    ['2,3', [2, 3]],
    ['GPU-abcdef01-2345', [3]],
    // As many as are here: the container runtime took the others away, and these are numbers of the host.
    ['4,5,6,7', [0, 1, 2, 3]],
  ])('%j means %j', (nvidiaVisibleDevices, expected) => {
    expect(slots({ nvidiaVisibleDevices })).toEqual(expected);
  });

  it('and CUDA_VISIBLE_DEVICES narrow each other', () => {
    expect(slots({ nvidiaVisibleDevices: '1,2', cudaVisibleDevices: '2,3' })).toEqual([2]);
  });
});

describe('gpu.cards', () => {
  it.each<[(string | number)[], number[]]>([
    [
      [1, 'GPU-abc'],
      [1, 3],
    ],
    [[], []],
  ])('%j means %j', (cards, expected) => {
    expect(slots({ cards })).toEqual(expected);
  });

  it('a card that is named and not here is missed', () => {
    const { wanted, warnings } = choose({ cards: [0, 'GPU-elsewhere'] });
    expect(wanted).toBe(2);
    expect(warnings).toEqual(['gpu.cards: GPU-elsewhere is no card of this machine']);
  });

  it('and gpu.count takes the first of those', () => {
    const { cards, unused } = choose({ cards: [1, 2, 3], count: 2 });
    expect(cards.map(({ index }) => index)).toEqual([1, 2]);
    expect(unused.map(({ gpu, reason }) => `${gpu} ${reason}`)).toEqual([
      '0 gpu.cards leaves it out',
      '3 2 of 3 cards are asked for (NUM_GPUS, gpu.count)',
    ]);
  });
});

describe('a card that was dead before it was ever seen', () => {
  const dead = {
    uuid: 'GPU-dead',
    pciBusId: '0000:d8:00',
    words: 'Unable to determine the device handle for GPU2: 0000:D8:00.0: Unknown Error',
  };
  const reading = { ...aReading(aGpu(0), aGpu(1)), unreachable: [dead] };
  it('counts among those that are wanted', () => {
    expect(choose({}, reading).wanted).toBe(3);
  });

  it.each([{ count: 2 }, { cards: [0, 1] }, { cudaVisibleDevices: '0,1' }])('not where something says which are: %j', (limit) => {
    expect(choose(limit, reading).wanted).toBe(2);
  });

  it('nor twice, once it has a slot', () => {
    expect(choose({}, { ...reading, gpus: [...reading.gpus, aGpu(2, { uuid: 'GPU-dead', state: 'missing' })] }).wanted).toBe(3);
  });
});
