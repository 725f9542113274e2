import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { explainFault } from '../../../../../src/adapters/hardware/nvidia-smi/faults.ts';
import {
  fieldsOf,
  GPU_FIELDS,
  parseGpus,
  parseMigDevices,
  parseProcesses,
  parseUnreachable,
  unknownField,
} from '../../../../../src/adapters/hardware/nvidia-smi/nvidia-smi.ts';
import { normalPciBusId, recoveryActionOf } from '../../../../../src/domain/cards/gpu.ts';

const UUID = 'GPU-2e9c4d1a-7b35-48f6-9c02-a1b2c3d4e5f6';

describe('parseGpus', () => {
  it('sorts by index, and takes the rest of the line for the name', () => {
    const line = (index: number, name: string) =>
      `${index}, GPU-${index}, 10, 1, 580.65.06, Default, [N/A], 29, 0, ${'x, '.repeat(GPU_FIELDS.length - 10)}${name}`;
    const { gpus } = parseGpus([line(10, 'B'), line(2, 'NVIDIA A, special')].join('\r\n'), GPU_FIELDS);
    expect(gpus.map((gpu) => [gpu.index, gpu.name])).toEqual([
      [2, 'NVIDIA A, special'],
      [10, 'B'],
    ]);
  });

  it.each([
    ['[N/A]'],
    ['N/A'],
    ['ERR!'],
    ['[Not Supported]'],
    ['[Insufficient Permissions]'],
    ['[Unknown Error]'],
    ['[GPU requires reset]'],
    [''],
  ])('%j is not told', (cell) => {
    const line = `0, ${UUID}, ${Array.from({ length: GPU_FIELDS.length - 2 }, () => cell).join(', ')}`;
    expect(parseGpus(line, GPU_FIELDS).gpus).toEqual([
      {
        index: 0,
        driverIndex: 0,
        uuid: UUID,
        name: 'NVIDIA GPU',
        memoryTotalBytes: null,
        memoryUsedBytes: null,
        driverVersion: null,
        computeMode: null,
        migMode: null,
        temperatureC: null,
        utilisationPercent: null,
        pciBusId: null,
        state: cell === '[GPU requires reset]' ? 'reset-required' : 'ok',
        performanceState: null,
        powerDrawWatts: null,
        powerLimitWatts: null,
        throttle: { hardwareThermal: null, softwareThermal: null, powerBrake: null, powerCap: null },
        ecc: { uncorrectedVolatile: null, uncorrectedAggregate: null, retirementPending: null, remapPending: null, remapFailed: null },
        recoveryAction: null,
      },
    ]);
  });

  it.each([['[N/A], GPU-1'], ['0, [N/A]'], ['0'], ['No devices were found'], ['Usage: nvidia-smi, see -h']])('%j is no card', (line) => {
    const good = `0, ${UUID}`;
    expect(parseGpus(`${line}\n${good}\n`, GPU_FIELDS)).toMatchObject({ gpus: [{ uuid: UUID }], rest: [line] });
  });

  it('gives a card or nothing, whatever is printed', () => {
    fc.assert(
      fc.property(fc.string(), (output) => {
        for (const gpu of parseGpus(output, GPU_FIELDS).gpus) {
          expect(Number.isInteger(gpu.index)).toBe(true);
          expect(gpu.uuid).toMatch(/^(GPU|MIG)-/);
        }
        for (const process of parseProcesses(output)) expect(process.pid).toBeGreaterThan(0);
      }),
    );
  });
});

describe('fieldsOf', () => {
  const help = (...names: string[]): string => names.map((name) => `"${name}"\nWhat it means.\n`).join('\n');

  it('asks for what the help names, and for what no card can be without', () => {
    expect(fieldsOf(help('name', 'temperature.gpu'))).toEqual(['index', 'uuid', 'temperature.gpu', 'name']);
  });

  it.each([
    ['the old name where there is no other', ['clocks_throttle_reasons.active'], 'clocks_throttle_reasons.active'],
    ['the new name of two', ['clocks_throttle_reasons.active', 'clocks_event_reasons.active'], 'clocks_event_reasons.active'],
  ])('takes %s', (_, names, taken) => {
    expect(fieldsOf(help(...names)).filter((field) => field.startsWith('clocks'))).toEqual([taken]);
  });

  it('reads two names in one line', () => {
    expect(fieldsOf('"clocks_event_reasons.active" or "clocks_throttle_reasons.active"\nBitmask.')).toContain(
      'clocks_event_reasons.active',
    );
  });

  it.each([[null], ['Invalid combination of input arguments.']])('tries all when the help is %j', (text) => {
    expect(fieldsOf(text)).toEqual(GPU_FIELDS.filter((field) => field !== 'clocks_throttle_reasons.active'));
  });
});

describe('parseUnreachable', () => {
  it.each([
    ['Unable to determine the device handle for GPU 0000:3B:00.0: GPU is lost.  Reboot the system to recover this GPU', '0000:3b:00'],
    ['Unable to determine the device handle for GPU0000:CB:00.0: Unknown Error', '0000:cb:00'],
    ['Unable to determine the device handle for GPU1: 0000:34:00.0: Unknown Error', '0000:34:00'],
    ['Unable to determine the device handle for gpu 00000000:0D:00.0: Unknown Error', '0000:0d:00'],
    ['Unable to determine the device handle for GPU1: Unknown Error', null],
  ])('%j', (line, pciBusId) => {
    expect(parseUnreachable(`${line}\r\nother words\n`)).toEqual([{ uuid: null, pciBusId, words: line }]);
  });
});

describe('addresses and actions', () => {
  it.each([
    ['00000000:3B:00.0', '0000:3b:00'],
    ['PCI:0000:3b:00', '0000:3b:00'],
    ['0000:3b:00', '0000:3b:00'],
    ['3B:00.0', '0000:3b:00'],
    ['00010000:3B:00.0', '0000:3b:00'],
    ['[N/A]', null],
    ['', null],
  ])('%j is %j', (address, normal) => {
    expect(normalPciBusId(address)).toBe(normal);
  });

  it.each([
    ['None', 'none'],
    ['Reset', 'reset'],
    ['GPU Reset Required', 'reset'],
    ['Node Reboot Required', 'reboot'],
    ['Drain P2P', 'drain-peers'],
    ['Drain and Reset', 'drain-and-reset'],
    ['', null],
    ['something new', null],
  ])('%j is %j', (words, action) => {
    expect(recoveryActionOf(words)).toBe(action);
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
      [
        'GPU-b',
        [
          { uuid: 'MIG-x', profile: '1g.6gb' },
          { uuid: 'MIG-y', profile: '1g.6gb' },
        ],
      ],
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
