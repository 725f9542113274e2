import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { explainFault, GPU_FIELDS, parseGpus, parseMigDevices, parseProcesses, unknownField } from '../../../src/adapters/nvidia-smi.ts';

const UUID = 'GPU-2e9c4d1a-7b35-48f6-9c02-a1b2c3d4e5f6';

describe('parseGpus', () => {
  it('sorts by index, and takes the rest of the line for the name', () => {
    const line = (index: number, name: string) => `${index}, GPU-${index}, 10, 1, 580.65.06, Default, [N/A], 29, 0, ${name}`;
    const gpus = parseGpus([line(10, 'B'), line(2, 'NVIDIA A, special')].join('\r\n'), GPU_FIELDS);
    expect(gpus?.map((gpu) => [gpu.index, gpu.name])).toEqual([
      [2, 'NVIDIA A, special'],
      [10, 'B'],
    ]);
  });

  it.each([['[N/A]'], ['N/A'], ['[Not Supported]'], ['[Insufficient Permissions]'], ['[Unknown Error]'], ['[GPU requires reset]'], ['']])(
    '%j is not told',
    (cell) => {
      const line = `0, ${UUID}, ${Array.from({ length: GPU_FIELDS.length - 2 }, () => cell).join(', ')}`;
      expect(parseGpus(line, GPU_FIELDS)).toEqual([
        {
          index: 0,
          uuid: UUID,
          name: 'NVIDIA GPU',
          memoryTotalBytes: null,
          memoryUsedBytes: null,
          driverVersion: null,
          computeMode: null,
          migMode: null,
          temperatureC: null,
          utilisationPercent: null,
        },
      ]);
    },
  );

  it.each([['[N/A], GPU-1'], ['0, [N/A]'], ['0'], ['No devices were found'], ['Usage: nvidia-smi, see -h']])('%j is no card', (line) => {
    expect(parseGpus(line, GPU_FIELDS)).toBeNull();
  });

  it('gives a card or nothing, whatever is printed', () => {
    fc.assert(
      fc.property(fc.string(), (output) => {
        for (const gpu of parseGpus(output, GPU_FIELDS) ?? []) {
          expect(Number.isInteger(gpu.index)).toBe(true);
          expect(gpu.uuid).toMatch(/^(GPU|MIG)-/);
        }
        for (const process of parseProcesses(output)) expect(process.pid).toBeGreaterThan(0);
      }),
    );
  });
});

describe('parseProcesses', () => {
  it.each([
    ['a process', `${UUID}, 4711, 512, python`, [{ gpuUuid: UUID, pid: 4711, name: 'python', memoryBytes: 512 * 1024 * 1024 }]],
    [
      'units all the same',
      `${UUID}, 4711, 512 MiB, python`,
      [{ gpuUuid: UUID, pid: 4711, name: 'python', memoryBytes: 512 * 1024 * 1024 }],
    ],
    ['nothing told but the pid', `${UUID}, 4711, [N/A], [Not Found]`, [{ gpuUuid: UUID, pid: 4711, name: null, memoryBytes: null }]],
    ['no pid', `${UUID}, [Not Supported], [Not Supported], [Not Supported]`, []],
    ['nothing', '', []],
  ])('%s', (_what, output, expected) => {
    expect(parseProcesses(output)).toEqual(expected);
  });
});

it('parseMigDevices keeps devices with their card', () => {
  const output =
    'GPU 0: NVIDIA A30 (UUID: GPU-a)\nGPU 1: NVIDIA A30 (UUID: GPU-b)\n  MIG 1g.6gb      Device  0: (UUID: MIG-x)\n  MIG 1g.6gb      Device  1: (UUID: MIG-y)\n';
  expect(parseMigDevices(output)).toEqual(
    new Map([
      ['GPU-a', []],
      ['GPU-b', ['MIG-x', 'MIG-y']],
    ]),
  );
});

it('unknownField names the field', () => {
  expect(unknownField('Field "mig.mode.current" is not a valid field to query.\n\n')).toBe('mig.mode.current');
  expect(unknownField('No devices were found')).toBeNull();
});

it('explainFault has words even for silence', () => {
  expect(explainFault('', null)).toEqual({ reason: 'nvidia-smi failed with exit code unknown: it said nothing', help: null });
});
