import { afterEach, describe, expect, it } from 'vitest';
import { statusLines } from '../../../src/cli/render/status.ts';
import { createStyle } from '../../../src/cli/style.ts';
import type { Gpu } from '../../../src/domain/cards/gpu.ts';
import type { ConfigInput } from '../../../src/domain/configuration/config.ts';
import { metricSamples } from '../../../src/engine/reports/metrics/metrics.ts';
import { aGpu } from '../../support/machine/builders.ts';
import { aReadyMachine, type Machine } from '../../support/machine/machine.ts';
import { createWorld, urlOf, type World } from '../../support/machine/world.ts';

/** Faults of cards on a machine in memory: who is taken out, who goes on, and what is never done. */

let machine: Machine;
afterEach(() => machine.stop());

async function withCards(count = 2, gpu: Partial<Gpu> = {}, config: ConfigInput = {}): Promise<World> {
  const world = await createWorld({ gpus: Array.from({ length: count }, (_, index) => aGpu(index, gpu)) });
  machine = await aReadyMachine({ world, config: { ...config, gpu: { mode: 'actual', ...config.gpu } } });
  machine.core.surveys.start();
  await machine.advance(11_000);
  expect(machine.isReady()).toBe(true);
  return world;
}

const faultsOf = (gpu: number): string[] => machine.instance(gpu).verdicts.map(({ fault, remedy }) => `${fault} ${remedy}`);
const statusOf = (gpu: number): string => machine.instance(gpu).status;
const startsOf = (world: World): number => world.pm2.calls.filter((call) => call.startsWith('start')).length;

describe('a card that is gone', () => {
  it('is not ready at the next reading, and quarantined when a second one misses it; the others keep card, port and process', async () => {
    const world = await withCards(3);
    const before = [...world.running()];
    // nvidia-smi numbers what is left anew.
    world.hardware.gpus([aGpu(1, { index: 0 }), aGpu(2, { index: 1 })]);
    await machine.until('it is not ready', () => !machine.instance(0).ready, 11_000);
    expect(faultsOf(0)).toEqual(['card-missing quarantine']);
    expect(machine.instance(0).pid).not.toBeNull();
    await machine.until('it is quarantined', () => statusOf(0) === 'quarantined', 20_000);
    await machine.advance(60_000);
    expect([...world.running()]).toEqual(before.slice(1));
    expect([1, 2].map((gpu) => [machine.instance(gpu).ready, machine.instance(gpu).uuid])).toEqual([
      [true, 'GPU-00000001'],
      [true, 'GPU-00000002'],
    ]);
    expect(machine.core.documents().health).toMatchObject({ status: 'degraded', capacity: '2/3' });
    expect(startsOf(world)).toBe(3);
  });

  it('that is back at the next reading loses nothing', async () => {
    const world = await withCards();
    world.hardware.gpus([aGpu(1)]);
    await machine.until('it is not ready', () => !machine.instance(0).ready, 11_000);
    world.hardware.gpus([aGpu(0), aGpu(1)]);
    await machine.until('it is ready', machine.isReady, 11_000);
    expect(faultsOf(0)).toEqual([]);
    expect(machine.events('fault')).toEqual(['instance 0: fault.seen', 'instance 0: fault.gone']);
    expect(startsOf(world)).toBe(2);
  });

  it('or lost: the same, at once', async () => {
    const world = await withCards();
    world.hardware.gpus([aGpu(0, { state: 'lost' }), aGpu(1)]);
    await machine.until('it is quarantined', () => statusOf(0) === 'quarantined', 12_000);
    expect(machine.instance(1).ready).toBe(true);
  });
});

describe('a driver that is gone', () => {
  it.each([
    ['does not answer', (world: World) => world.hardware.fail('nvidia-smi did not answer within 5000 ms')],
    ['lists no card', (world: World) => world.hardware.gpus([])],
    ['is not there', (world: World) => world.hardware.gpus(null)],
  ])('%s: a hold of the machine, and nothing is restarted', async (_, fault) => {
    const world = await withCards();
    const before = [...world.running()];
    fault(world);
    await machine.advance(60_000);
    const { health } = machine.core.documents();
    expect(health.holds).toMatchObject([{ target: 'machine', code: 'GPU_QUERY_FAILED', help: expect.stringContaining('left alone') }]);
    expect(health.verdicts).toMatchObject([{ fault: 'driver-gone', remedy: 'none' }]);
    expect(health).toMatchObject({ status: 'degraded', capacity: '2/2' });
    expect([...world.running()]).toEqual(before);
    expect(startsOf(world)).toBe(2);
    world.hardware.gpus([aGpu(0), aGpu(1)]);
    await machine.until('it is whole', () => machine.core.documents().health.status === 'healthy', 12_000);
  });
});

describe('cards that no process can use', () => {
  const WORDS = 'RuntimeError: Unexpected error from cudaGetDeviceCount(). Error 802: system not yet initialized';
  const end = (world: World, gpu: number, words: string): void => {
    world.files.put(`/workspace/logs/comfyui-gpu${gpu}.log`, `Traceback (most recent call last):\n${words}\n`);
    world.pm2.exit(`comfyui-gpu${gpu}`);
  };

  it('are one line of the machine, with the cause and its remedy, in health, /ready and status', async () => {
    const world = await withCards();
    world.boot = 'silent';
    end(world, 0, WORDS);
    end(world, 1, WORDS);
    const { core } = machine;
    await machine.until('it is told', () => core.documents().health.verdicts.length > 0, 5_000);
    const { health, ready } = core.documents();
    expect(health.verdicts).toMatchObject([{ fault: 'cuda-unavailable', next: expect.stringContaining('nvidia-fabricmanager') }]);
    const told = `no card can be used by CUDA, all 2 instances fail with: ${WORDS}; ${health.verdicts[0]?.next}`;
    expect(ready).toEqual({ ready: false, capacity: '0/2', reasons: [told] });
    expect(health.reasons).toEqual([told]);
    const lines = statusLines(await core.agent.status(), {
      style: createStyle({ color: false, unicode: true }),
      columns: 0,
      now: world.clock.now(),
      verbose: false,
    });
    const present = lines.slice(0, lines.indexOf('LAST WARNINGS'));
    expect(present.filter((line) => line.includes('802'))).toHaveLength(1);
  });

  it('with other words on one of them each says its own', async () => {
    const world = await withCards();
    world.boot = 'silent';
    end(world, 0, WORDS);
    end(world, 1, 'RuntimeError: CUDA error: out of luck');
    await machine.until('both are told', () => machine.instance(0).verdicts.length > 0 && machine.instance(1).verdicts.length > 0, 5_000);
    const { health } = machine.core.documents();
    expect(health.verdicts).toEqual([]);
    expect(health.reasons.filter((reason) => /^gpu [01]: /.test(reason))).toHaveLength(2);
  });
});

describe('an instance that ends while the driver is gone', () => {
  it('is stopped and not started again and again; it comes back with the driver', async () => {
    const world = await withCards();
    const pid = machine.instance(1).pid;
    world.hardware.fail('nvidia-smi did not answer within 5000 ms');
    await machine.advance(11_000);
    world.pm2.exit('comfyui-gpu0');
    await machine.until('it is stopped', () => !world.running().has('comfyui-gpu0'), 5_000);
    await machine.advance(1_000);
    const before = world.pm2.calls.length;
    await machine.advance(120_000);
    expect(world.running().has('comfyui-gpu0')).toBe(false);
    expect(world.pm2.calls.length).toBe(before);
    expect(machine.core.documents().health.holds).toContainEqual(
      expect.objectContaining({ target: 'instance 0', code: 'GPU_QUERY_FAILED', reason: expect.stringContaining('did not answer') }),
    );
    expect(statusOf(0)).not.toBe('quarantined');
    expect(machine.instance(1)).toMatchObject({ ready: true, pid });
    world.hardware.gpus([aGpu(0), aGpu(1)]);
    await machine.until('all is ready', machine.isReady, 60_000);
    expect(machine.instance(1).pid).toBe(pid);
  });

  it('faults of its process are told and not acted on', async () => {
    const world = await withCards();
    const pid = machine.instance(0).pid ?? 0;
    world.hardware.fail('nvidia-smi did not answer within 5000 ms');
    await machine.advance(11_000);
    world.kernelLog.say(`NVRM: Xid (PCI:0000:00:00): 31, pid=${pid}, name=python3`);
    await machine.advance(60_000);
    expect(faultsOf(0)).toEqual(['xid restart']);
    expect(machine.instance(0).pid).toBe(pid);
  });
});

describe('the kernel log', () => {
  const say = (world: World, gpu: number, code: number, rest = ''): void =>
    world.kernelLog.say(`NVRM: Xid (PCI:0000:0${gpu}:00): ${code}, ${rest}`);
  const pidOf = (gpu: number): number => machine.instance(gpu).pid ?? 0;

  it('a card that fell off the bus: its instance is quarantined within two seconds, no other is touched', async () => {
    const world = await withCards();
    const pid = pidOf(1);
    say(world, 0, 79, 'pid=1, GPU has fallen off the bus.');
    await machine.until('it is quarantined', () => statusOf(0) === 'quarantined', 2_000);
    expect(machine.instance(0).verdicts[0]?.reason).toContain('Xid 79 (the GPU has fallen off the bus) on GPU 0 at 0000:00:00');
    await machine.advance(30_000);
    expect(machine.instance(1)).toMatchObject({ ready: true, pid });
  });

  it('an Xid of our process: that one instance is restarted, once', async () => {
    const world = await withCards();
    const [first, second] = [pidOf(0), pidOf(1)];
    say(world, 0, 31, `pid=${first}, name=python3, Ch 00000008`);
    await machine.until('it is another process', () => pidOf(0) !== first && machine.isReady(), 30_000);
    await machine.advance(60_000);
    expect(pidOf(1)).toBe(second);
    expect(startsOf(world)).toBe(3);
    expect(faultsOf(0)).toEqual([]);
  });

  it('an Xid of a stranger, and one of no card of ours: told, or not even that', async () => {
    const world = await withCards();
    say(world, 0, 13, 'pid=99999');
    world.kernelLog.say('NVRM: Xid (PCI:0000:77:00): 79, GPU has fallen off the bus.');
    await machine.advance(30_000);
    expect(faultsOf(0)).toEqual(['xid none']);
    expect([machine.instance(0).ready, machine.instance(1).ready]).toEqual([true, true]);
    expect(startsOf(world)).toBe(2);
  });

  it('what the driver says after an Xid is heard before anything is quarantined', async () => {
    const world = await withCards(2, { recoveryAction: 'none' });
    const first = pidOf(0);
    await machine.advance(5_000);
    say(world, 0, 119, 'pid=0, Timeout waiting for RPC from GSP!');
    await machine.until('the instance is another process', () => pidOf(0) !== first && machine.isReady(), 30_000);
    expect(machine.events('action.quarantine')).toEqual([]);
  });

  it('that may not be read is told once, and read when it may', async () => {
    const world = await createWorld({ gpus: [aGpu(0)] });
    world.kernelLog.forbid();
    machine = await aReadyMachine({ world, config: { gpu: { mode: 'actual' } } });
    machine.core.surveys.start();
    await machine.advance(180_000);
    expect(machine.core.knowledge.kernelLog).toMatchObject({ known: false, reason: expect.stringContaining('not permitted') });
    expect(machine.core.documents().health.status).toBe('healthy');
  });
});

describe('metrics', () => {
  const sample = (name: string, labels: object): number | undefined =>
    metricSamples(machine.core.knowledge, machine.core.documents()).find(
      (candidate) => candidate.name === `comfylet_gpu_${name}` && JSON.stringify(candidate.labels) === JSON.stringify(labels),
    )?.value;
  const zero = { gpu: '0', uuid: 'GPU-00000000' };

  it('tell what cards tell, and nothing of what they do not', async () => {
    const world = await withCards();
    const throttle = { hardwareThermal: true, softwareThermal: null, powerBrake: false, powerCap: null };
    world.hardware.gpus([aGpu(0, { powerDrawWatts: 71.5, throttle }), aGpu(1)]);
    world.kernelLog.say('NVRM: Xid (PCI:0000:00:00): 63, pid=0');
    world.kernelLog.say('NVRM: Xid (PCI:0000:00:00): 63, pid=0');
    await machine.advance(2_000);
    expect(sample('power_draw_watts', zero)).toBe(71.5);
    expect(sample('up', zero)).toBe(1);
    expect(sample('throttled', { ...zero, reason: 'hw_thermal' })).toBe(1);
    expect(sample('throttled', { ...zero, reason: 'hw_power_brake' })).toBe(0);
    expect(sample('throttled', { ...zero, reason: 'sw_thermal' })).toBeUndefined();
    expect(sample('ecc_uncorrected_volatile', zero)).toBe(0);
    expect(sample('ecc_retirement_pending', zero)).toBeUndefined();
    expect(sample('xid_total', { ...zero, xid: '63' })).toBe(2);
    world.hardware.gpus([aGpu(1)]);
    await machine.advance(11_000);
    expect(sample('up', zero)).toBe(0);
    expect(sample('power_draw_watts', zero)).toBeUndefined();
    expect(sample('driver_up', {})).toBe(1);
    world.hardware.fail('nvidia-smi did not answer within 5000 ms');
    await machine.advance(11_000);
    expect(sample('driver_up', {})).toBe(0);
    expect(sample('up', zero)).toBeUndefined();
  });
});

describe('sensors', () => {
  it('heat is told, and the instance goes on', async () => {
    const world = await withCards();
    const hot = { hardwareThermal: true, softwareThermal: true, powerBrake: false, powerCap: true };
    world.hardware.gpus([aGpu(0, { throttle: hot, temperatureC: 93 }), aGpu(1)]);
    await machine.advance(30_000);
    expect(faultsOf(0)).toEqual(['card-hot none']);
    expect(machine.instance(0)).toMatchObject({ ready: true, status: 'degraded' });
    expect(machine.core.documents().health.reasons.join()).toContain('too hot (93 °C)');
    expect(startsOf(world)).toBe(2);
  });

  it('memory without spare rows quarantines that card', async () => {
    const world = await withCards();
    const ecc = { uncorrectedVolatile: 3, uncorrectedAggregate: 9, retirementPending: null, remapPending: true, remapFailed: true };
    world.hardware.gpus([aGpu(0), aGpu(1, { ecc })]);
    await machine.until('it is quarantined', () => statusOf(1) === 'quarantined', 12_000);
    expect(machine.instance(0).ready).toBe(true);
  });
});

describe('the wrong card', () => {
  it('in the environment of the process: it is started again with its own', async () => {
    const world = await withCards();
    const pid = machine.instance(0).pid ?? 0;
    const environment = world.pm2.entry('comfyui-gpu0')?.env ?? {};
    world.kernel.add({ pid, environment: { ...environment, CUDA_VISIBLE_DEVICES: 'GPU-00000001' }, listens: [8188] });
    await machine.until('it is another process', () => machine.instance(0).pid !== pid && machine.isReady(), 30_000);
    expect(machine.journal('fault.seen')).toMatchObject([{ message: expect.stringContaining(`pid ${pid} sees card GPU-00000001`) }]);
    await machine.advance(30_000);
    expect(startsOf(world)).toBe(3);
  });

  it('by the word of ComfyUI: the instance is taken out, and it was asked once for each process', async () => {
    const world = await createWorld({ gpus: [aGpu(0, { name: 'NVIDIA A' }), aGpu(1, { name: 'NVIDIA B' })] });
    machine = await aReadyMachine({ world, config: { gpu: { mode: 'actual' } } });
    const [own, other] = [8188, 8189].map((tcpPort) => world.comfy.serve(urlOf(tcpPort)));
    if (own === undefined || other === undefined) throw new Error('there is no server');
    own.device = { name: 'cuda:0 NVIDIA B : cudaMallocAsync', type: 'cuda' };
    other.device = { name: 'cuda:0 NVIDIA B', type: 'cuda' };
    machine.core.surveys.start();
    await machine.until('it is quarantined', () => statusOf(0) === 'quarantined', 25_000);
    await machine.advance(60_000);
    expect(machine.instance(1).ready).toBe(true);
    expect(other.calls.filter((call) => call === 'systemStats')).toHaveLength(1);
  });

  it('by the processes of a card: the instance is taken out', async () => {
    const world = await withCards();
    const process = { pid: machine.instance(0).pid ?? 0, name: 'python3', memoryBytes: 2 ** 30, type: 'compute' as const, migDevice: null };
    world.hardware.gpus([aGpu(0), aGpu(1, { processes: [process] })]);
    await machine.until('it is quarantined', () => statusOf(0) === 'quarantined', 25_000);
    expect(machine.instance(0).verdicts).toEqual([]);
    expect(machine.events('fault')).toContain('instance 0: fault.seen');
    expect(machine.instance(1).ready).toBe(true);
  });
});
