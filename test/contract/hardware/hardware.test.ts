import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { createHardware, type HardwareOptions } from '../../../src/adapters/hardware/hardware.ts';
import { createShell } from '../../../src/adapters/shell/shell.ts';
import { Gpu, type GpuReading, MachineFacts } from '../../../src/domain/cards/gpu.ts';
import type { Hardware } from '../../../src/ports/hardware.ts';
import { createFakeHardware } from '../../fakes/hardware.ts';
import { eventually } from '../../support/eventually.ts';
import { type FakeNvidiaSmi, installFakeNvidiaSmi } from '../../support/hardware/nvidia-smi.ts';
import { aGpu } from '../../support/machine/builders.ts';

const MEBIBYTE = 1024 * 1024;

let smi: FakeNvidiaSmi;
let procRoot: string;
beforeEach(async () => {
  smi = await installFakeNvidiaSmi();
  procRoot = mkdtempSync(join(tmpdir(), 'proc-'));
});
afterEach(async () => {
  await smi.remove();
  rmSync(procRoot, { recursive: true, force: true });
});

const shell = (path = `${smi.directory}:/usr/bin:/bin`) => createShell({ path });
const hardware = (options: Partial<HardwareOptions> = {}): Hardware =>
  createHardware({ shell: shell(), queryTimeoutMs: 20_000, procRoot, ...options });
const isAlive = (pid: number): boolean => {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
};

/** The same three situations on both. */
describe.each([
  [
    'fake',
    async (situation: 'two cards' | 'no driver' | 'broken') => {
      const fake = createFakeHardware(situation === 'no driver' ? null : [aGpu(0), aGpu(1)]);
      if (situation === 'broken') fake.fail('the driver hangs');
      return fake.hardware;
    },
  ],
  [
    'nvidia-smi',
    async (situation: 'two cards' | 'no driver' | 'broken') => {
      if (situation === 'broken') await smi.control({ set: 'driver-broken' });
      return situation === 'no driver' ? hardware({ shell: shell('/nowhere') }) : hardware();
    },
  ],
])('Hardware, %s', (_name, open) => {
  it('lists cards by index', async () => {
    const reading = await (await open('two cards')).gpus();
    expect(reading.present).toBe(true);
    expect(reading.gpus.map((gpu) => gpu.index)).toEqual([0, 1]);
    for (const gpu of reading.gpus) expect(Gpu.parse(gpu)).toEqual(gpu);
    expect(new Set(reading.gpus.map((gpu) => gpu.uuid)).size).toBe(2);
  });

  it('a machine without a driver is a fact', async () => {
    expect(await (await open('no driver')).gpus()).toEqual({ present: false, gpus: [] });
  });

  it('a broken driver is an error with a remedy', async () => {
    await expect((await open('broken')).gpus()).rejects.toMatchObject({ code: 'GPU_QUERY_FAILED', help: expect.stringMatching(/\w/) });
  });

  it('tells about the machine', async () => {
    const hardware = await open('two cards');
    const facts = await hardware.machine('/no/such/root/yet');
    expect(hardware.hostname()).toBe(facts.hostname);
    expect(MachineFacts.parse(facts)).toEqual(facts);
    expect(facts.os).not.toBe('');
    expect(facts.cores).toBeGreaterThan(0);
    expect(facts.memoryAvailableBytes).toBeGreaterThan(0);
    expect(facts.memoryAvailableBytes).toBeLessThanOrEqual(facts.memoryTotalBytes);
    expect(facts.diskFreeBytes).toBeGreaterThan(0);
    expect(facts.diskFreeBytes).toBeLessThanOrEqual(facts.diskTotalBytes ?? 0);
  });
});

describe('nvidia-smi of several driver generations', () => {
  const read = async (set: string, pid = 1) => {
    await smi.control({ set, pid });
    return (await hardware().gpus()).gpus;
  };

  it('580: two cards at rest', async () => {
    expect((await read('580-2xl40s'))[0]).toEqual({
      index: 0,
      driverIndex: 0,
      uuid: 'GPU-2e9c4d1a-7b35-48f6-9c02-a1b2c3d4e5f6',
      name: 'NVIDIA L40S',
      memoryTotalBytes: 46_068 * MEBIBYTE,
      memoryUsedBytes: MEBIBYTE,
      driverVersion: '580.65.06',
      computeMode: 'Default',
      migMode: null,
      migDevices: [],
      partOf: null,
      temperatureC: 29,
      utilisationPercent: 0,
      pciBusId: '0000:3b:00',
      state: 'ok',
      performanceState: 'P8',
      powerDrawWatts: 34.27,
      powerLimitWatts: 350,
      throttle: { hardwareThermal: false, softwareThermal: false, powerBrake: false, powerCap: false },
      ecc: { uncorrectedVolatile: 0, uncorrectedAggregate: 0, retirementPending: null, remapPending: false, remapFailed: false },
      recoveryAction: 'none',
      processes: [],
    });
  });

  it('470', async () => {
    expect(await read('470-t4')).toMatchObject([
      { name: 'Tesla T4', driverVersion: '470.223.02', memoryTotalBytes: 15_109 * MEBIBYTE, migMode: null },
    ]);
  });

  it.each([
    ['by its help: each reading is one question', 'yes', [false, false]],
    ['by its complaint where it has no help', 'no', [true, false, false]],
  ])('418: fields it does not know are left out, %s', async (_, help, asked) => {
    await smi.control({ set: '418-k80', help });
    const subject = hardware();
    for (const _ of [1, 2]) {
      expect((await subject.gpus()).gpus).toMatchObject([
        { index: 0, computeMode: 'Default', utilisationPercent: 0, migMode: null, pciBusId: null, ecc: { uncorrectedVolatile: null } },
        { index: 1, computeMode: 'Exclusive_Process', utilisationPercent: null, processes: [], state: 'ok' },
      ]);
    }
    const calls = await smi.calls();
    const questions = calls.filter((call) => call.includes('--query-gpu')).map((call) => call.includes('mig.mode.current'));
    expect([questions[0], ...questions.slice(-(asked.length - 1))]).toEqual(asked);
    expect(calls.filter((call) => call.includes('--help-query-gpu'))).toHaveLength(1);
  });

  it('470: retired pages, uncorrected errors, and the old name of the clock reasons', async () => {
    expect(await read('470-v100-ecc')).toMatchObject([
      {
        pciBusId: '0000:00:04',
        powerDrawWatts: 25.48,
        throttle: { hardwareThermal: false, powerBrake: false },
        ecc: { uncorrectedVolatile: 2, uncorrectedAggregate: 2, retirementPending: true, remapPending: null, remapFailed: null },
        recoveryAction: null,
      },
    ]);
  });

  it('525: slowed down by heat and by the power limit', async () => {
    expect(await read('525-a10-hot')).toMatchObject([
      {
        temperatureC: 93,
        performanceState: 'P2',
        throttle: { hardwareThermal: true, softwareThermal: true, powerBrake: false, powerCap: true },
        ecc: { uncorrectedVolatile: 0, retirementPending: null },
      },
    ]);
  });

  it('550: sensors that fail, and a card that wants a reset', async () => {
    expect(await read('550-4090-errors')).toMatchObject([
      { state: 'ok', powerDrawWatts: null, powerLimitWatts: null, throttle: { hardwareThermal: null }, ecc: { uncorrectedVolatile: null } },
      { state: 'reset-required', temperatureC: null, performanceState: null, memoryTotalBytes: 24_564 * MEBIBYTE },
    ]);
  });

  it('570: rows to be remapped, none left to remap to, and a lost card among others', async () => {
    expect(await read('570-a100-remap')).toMatchObject([
      { ecc: { uncorrectedVolatile: 1, remapPending: true, remapFailed: false }, recoveryAction: 'none', state: 'ok' },
      { ecc: { uncorrectedVolatile: 12, remapPending: true, remapFailed: true }, recoveryAction: 'reset', state: 'ok' },
      { name: 'NVIDIA A100-SXM4-80GB', pciBusId: '0000:47:00', state: 'lost', memoryUsedBytes: null, recoveryAction: null },
    ]);
  });

  it('a card that cannot be reached is told beside those that can', async () => {
    const gone = 'Unable to determine the device handle for GPU1: 0000:AF:00.0: Unknown Error';
    await smi.control({ gone, missing: 1 });
    expect(await hardware().gpus()).toMatchObject({ gpus: [{ index: 0 }], unreachable: [{ pciBusId: '0000:af:00', words: gone }] });
  });

  it('one that ends at such a card is asked for the others alone', async () => {
    const gone = 'Unable to determine the device handle for GPU0000:3B:00.0: GPU is lost.  Reboot the system to recover this GPU';
    const subject = hardware();
    await subject.gpus();
    await smi.control({ gone, rest: 'no' });
    // An adapter that never saw them does not know whom else to ask.
    await expect(hardware().gpus()).rejects.toMatchObject({ code: 'GPU_QUERY_FAILED', message: expect.stringContaining('3B:00.0') });
    expect(await subject.gpus()).toMatchObject({
      gpus: [{ index: 1, uuid: 'GPU-8f1d2c3b-4a59-4768-8796-b5c4d3e2f1a0' }],
      unreachable: [{ pciBusId: '0000:3b:00' }],
    });
  });

  const FIRST = 'GPU-2e9c4d1a-7b35-48f6-9c02-a1b2c3d4e5f6';
  const SECOND = 'GPU-8f1d2c3b-4a59-4768-8796-b5c4d3e2f1a0';

  it.each([
    ['WARNING: infoROM is corrupted at gpu 0000:AF:00.0', 14, SECOND],
    ['WARNING: infoROM is corrupted at gpu 0000:AF:00.0', 0, SECOND],
    ['GPU 0: fan is stuck', 0, FIRST],
    [`[Unknown Error], ${SECOND}, [Unknown Error]`, 0, SECOND],
    ['Warning: persistence mode is deprecated', 3, null],
    ['', 3, null],
  ])('a line beside the rows (%s, exit %i) takes no card away, and is told with its own words', async (warning, rc, uuid) => {
    await smi.control({ rc, warning });
    const reading = await hardware().gpus();
    expect(reading.gpus.map((gpu) => gpu.uuid)).toEqual([FIRST, SECOND]);
    expect(reading.remarks).toEqual([{ uuid, words: warning === '' ? 'nvidia-smi ended with exit code 3' : warning }]);
  });

  it('a card whose row cannot be read is asked for alone', async () => {
    const subject = hardware();
    await smi.control({ change: '1|index|[Unknown Error]' });
    const reading = await subject.gpus([{ uuid: SECOND, pciBusId: '0000:af:00' }]);
    expect(reading.gpus.map((gpu) => gpu.uuid)).toEqual([FIRST]);
    expect(reading.unreachable).toMatchObject([
      { uuid: SECOND, pciBusId: '0000:af:00', words: expect.stringContaining('[Unknown Error]') },
    ]);
    const calls = await smi.calls();
    expect(calls.filter((call) => call.includes(`-i ${SECOND}`))).toHaveLength(1);
  });

  const DEAD = 'Unable to determine the device handle for GPU2: 0000:D8:00.0: Unknown Error';
  const ofEight = (reading: GpuReading) => reading.gpus.map((gpu) => gpu.index);

  it('a dead card at the first reading: the others are asked one by one, as the roster names them', async () => {
    await smi.control({ set: '580-4xl40s', dead: 2, gone: DEAD });
    const all = [FIRST, SECOND, 'GPU-0b6f3e27-91c8-4d0a-b5e4-7d2c9a81f306', 'GPU-c47a18d9-2e63-4fb1-8a07-3f95e6d0b2c8'];
    const reading = await hardware().gpus(all.map((uuid) => ({ uuid, pciBusId: null })));
    expect(ofEight(reading)).toEqual([0, 1, 3]);
    expect(reading.unreachable?.map(({ words }) => words)).toContain(DEAD);
  });

  it('or as the driver itself names them, where no roster does', async () => {
    await smi.control({ set: '580-4xl40s', dead: 2, gone: DEAD });
    const places: readonly (readonly [string, string])[] = [
      ['0000:1b:00.0', FIRST],
      ['0000:23:00.0', SECOND],
      ['0000:d8:00.0', 'GPU-????????-????-????-????-????????????'],
      ['0000:e3:00.0', 'GPU-c47a18d9-2e63-4fb1-8a07-3f95e6d0b2c8'],
    ];
    for (const [bus, uuid] of places) {
      const directory = join(procRoot, 'driver/nvidia/gpus', bus);
      mkdirSync(directory, { recursive: true });
      writeFileSync(join(directory, 'information'), `Model: \t\t NVIDIA L40S\nGPU UUID: \t ${uuid}\nBus Location: \t ${bus}\n`);
    }
    expect(ofEight(await hardware().gpus())).toEqual([0, 1, 3]);
  });

  it('where every card fails in the same words it is a failure of the machine, told once', async () => {
    await smi.control({ mode: 'fail', exit: 15, text: 'Unable to determine the device handle for GPU0: 0000:3B:00.0: Unknown Error' });
    const both = [FIRST, SECOND].map((uuid) => ({ uuid, pciBusId: null }));
    await expect(hardware().gpus(both)).rejects.toMatchObject({ code: 'GPU_QUERY_FAILED', message: expect.stringContaining('3B:00.0') });
  });

  it('535: a process with commas in its path, on its card', async () => {
    mkdirSync(join(procRoot, '4711'));
    const gpus = await read('535-2x4090', 4711);
    expect(gpus.map((gpu) => gpu.processes)).toEqual([
      [],
      [{ pid: 4711, name: '/home/ada/envs/llm, v2/bin/python', memoryBytes: 18_192 * MEBIBYTE, type: 'compute', migDevice: null }],
    ]);
  });

  it('535: a divided card with its MIG devices, and the processes in them', async () => {
    mkdirSync(join(procRoot, '4711'));
    expect(await read('535-a100-mig', 4711)).toMatchObject([
      {
        migMode: 'enabled',
        migDevices: [
          { uuid: 'MIG-c6d4f1ef-42e4-5de3-91c7-45d71c87eb3f', profile: '3g.20gb' },
          { uuid: 'MIG-cba663e8-9bed-5b25-b243-5985ef7c9beb', profile: '3g.20gb' },
        ],
        utilisationPercent: null,
        processes: [
          { pid: 4711, name: 'python3', migDevice: null },
          { pid: 4_194_000, name: null, migDevice: 'MIG-c6d4f1ef-42e4-5de3-91c7-45d71c87eb3f' },
        ],
      },
      { migMode: 'disabled', migDevices: [], processes: [] },
    ]);
  });

  it('535: rights that a container lacks', async () => {
    expect(await read('535-mig-container')).toMatchObject([
      {
        migMode: 'enabled',
        migDevices: [{ uuid: 'MIG-a4f9bb86-3b0f-5e86-9a0c-1d7b3a5f2c44' }],
        memoryTotalBytes: null,
        memoryUsedBytes: null,
        temperatureC: 47,
        processes: [],
      },
    ]);
  });

  it('550: pids of another world have no name', async () => {
    expect((await read('550-container'))[0]?.processes).toEqual([
      { pid: 4_194_001, name: null, memoryBytes: 9_406 * MEBIBYTE, type: 'compute', migDevice: null },
      { pid: 4_194_002, name: null, memoryBytes: null, type: 'compute', migDevice: null },
    ]);
  });

  it('550: a board that tells nearly nothing', async () => {
    expect(await read('550-not-available')).toMatchObject([
      {
        name: 'NVIDIA GH200 480GB',
        memoryTotalBytes: null,
        memoryUsedBytes: null,
        computeMode: null,
        migMode: null,
        temperatureC: null,
        utilisationPercent: null,
      },
    ]);
  });

  it('asks for MIG devices only where a card has MIG on', async () => {
    await read('580-2xl40s');
    expect((await smi.calls()).filter((call) => call.endsWith(' -L'))).toEqual([]);
  });
});

describe('nvidia-smi that fails', () => {
  it('a driver that sees no card is no failure', async () => {
    await smi.control({ set: 'no-devices' });
    expect(await hardware().gpus()).toEqual({ present: true, gpus: [] });
  });

  it.each([
    ['driver-broken', /cannot reach the NVIDIA driver/, /modprobe nvidia/],
    ['version-mismatch', /kernel still runs the old one/, /reboot.*rmmod nvidia_uvm.*modprobe nvidia/],
    ['devices-forbidden', /may not be opened/, /container/],
    ['insufficient-permissions', /may not be opened/, /\/dev\/nvidia/],
    ['gpu-lost', /does not answer any more.*CF:00\.0/, /xid/],
    ['library-missing', /libnvidia-ml/, /install/],
  ])('%s: says what and what to do', async (set, message, help) => {
    await smi.control({ set });
    await expect(hardware().gpus()).rejects.toMatchObject({
      code: 'GPU_QUERY_FAILED',
      message: expect.stringMatching(message),
      help: expect.stringMatching(help),
    });
  });

  it('unheard-of words come through', async () => {
    await smi.control({ mode: 'fail', exit: 77, text: 'The moon is in the wrong house.' });
    await expect(hardware().gpus()).rejects.toMatchObject({
      message: 'nvidia-smi failed with exit code 77: The moon is in the wrong house.',
    });
  });

  it('an answer in another form is no reading', async () => {
    await smi.control({ mode: 'fail', exit: 0, text: 'Usage: nvidia-smi' });
    await expect(hardware().gpus()).rejects.toMatchObject({
      code: 'GPU_QUERY_FAILED',
      message: expect.stringContaining('Usage: nvidia-smi'),
    });
  });

  it('a loaded driver without nvidia-smi is no machine without a GPU', async () => {
    mkdirSync(join(procRoot, 'driver/nvidia'), { recursive: true });
    await expect(hardware({ shell: shell('/nowhere') }).gpus()).rejects.toMatchObject({
      code: 'GPU_QUERY_FAILED',
      message: expect.stringContaining('no nvidia-smi'),
    });
  });

  it('a name that is no program counts as none', async () => {
    await expect(hardware({ nvidiaSmi: '/dev/null' }).gpus()).resolves.toEqual({ present: false, gpus: [] });
  });

  it.each([['hang'], ['deaf']])('one that does not answer (%s) is ended with its children, and later calls work', async (mode) => {
    await smi.control({ mode });
    const subject = hardware({ queryTimeoutMs: 300 });
    const began = performance.now();
    await expect(subject.gpus()).rejects.toMatchObject({
      code: 'GPU_QUERY_FAILED',
      message: 'nvidia-smi did not answer within 300 ms',
      help: expect.stringMatching(/nvidia-smi -pm 1.*gpu\.queryTimeoutMs.*dmesg/),
    });
    // The limit and the wait for the kill; far from the 600 s that it would take.
    expect(performance.now() - began).toBeLessThan(10_000);
    const pids = (await smi.calls()).map((call) => Number(call.split(' ')[0]));
    expect(pids).toHaveLength(4);
    await eventually('program and child have ended', () => pids.every((pid) => !isAlive(pid)), 20_000);
    await smi.control({ set: '470-t4' });
    const later = createHardware({ shell: shell(), queryTimeoutMs: 20_000, procRoot });
    expect((await later.gpus()).gpus).toHaveLength(1);
    await eventually('the same adapter works again', () => subject.gpus().catch(() => null), 20_000);
  });

  it('one that cannot even be killed is not asked a second time', async () => {
    const { promise: never } = Promise.withResolvers<never>();
    let runs = 0;
    const stuck = {
      ...shell(),
      run: () => {
        runs++;
        return never;
      },
    };
    const subject = hardware({ shell: stuck, queryTimeoutMs: 50 });
    await expect(subject.gpus()).rejects.toMatchObject({ message: 'nvidia-smi did not answer within 50 ms' });
    const after = runs;
    await expect(subject.gpus()).rejects.toMatchObject({ code: 'GPU_QUERY_FAILED', message: expect.stringContaining('still hangs') });
    expect(runs).toBe(after);
  });
});
