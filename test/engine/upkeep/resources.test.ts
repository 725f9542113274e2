import { afterEach, describe, expect, it } from 'vitest';
import type { ConfigInput } from '../../../src/domain/configuration/config.ts';
import type { FoundFile } from '../../../src/domain/upkeep/upkeep.ts';
import { NOW } from '../../support/machine/builders.ts';
import { aReadyMachine, type Machine } from '../../support/machine/machine.ts';
import { urlOf } from '../../support/machine/world.ts';

const MEBIBYTE = 1024 * 1024;
const HOUR = 3_600_000;
let machine: Machine;
afterEach(async () => {
  await machine.stop();
});

const ready = async (config: ConfigInput = {}): Promise<Machine> => {
  machine = await aReadyMachine({ config });
  return machine;
};
const of = (gpu: number) => {
  const found = machine.world.running().get(`comfyui-gpu${gpu}`);
  if (found === undefined) throw new Error(`instance ${gpu} does not run`);
  return found;
};
const server = (gpu: number) => machine.world.comfy.serve(urlOf(of(gpu).tcpPort));
const file = (path: string, ageMs: number, bytes = MEBIBYTE): FoundFile => ({ path, bytes, changedAt: NOW - ageMs, inode: 7 });
const restarts = () => machine.events('action.restart-instance');
const faults = () => machine.core.documents().health.verdicts.map((verdict) => verdict.fault);

describe('memory of an instance', () => {
  it('above its budget for a while: restarted, one after the other, with the reason', async () => {
    await ready({ memory: { budgetMb: 1_000 } });
    const before = of(0).pid;
    machine.world.kernel.resident(of(0).pid, 1_500 * MEBIBYTE);
    machine.world.kernel.resident(of(1).pid, 1_500 * MEBIBYTE);
    await machine.advance(6_000);
    expect(machine.instance(0).verdicts).toMatchObject([{ fault: 'memory-growth', remedy: 'restart-when-idle' }]);
    expect(restarts()).toEqual([]);
    await machine.until('both are new', () => restarts().length === 2 && machine.isReady());
    const [first] = machine.journal('action.restart-instance');
    expect(first?.message).toContain('its memory (1500 MiB) is above the budget of 1000 MiB');
    // The second went only when the first was back.
    const order = machine.events().filter((event) => /action.restart-instance|instance.ready/.test(event));
    expect(order.slice(-4)).toEqual([
      'instance 0: action.restart-instance',
      'instance 0: instance.ready',
      'instance 1: action.restart-instance',
      'instance 1: instance.ready',
    ]);
    expect(of(0).pid).not.toBe(before);
    await machine.advance(60_000);
    expect(restarts()).toHaveLength(2);
    expect(machine.instance(0).verdicts).toEqual([]);
  });

  it('never while it has jobs', async () => {
    await ready({ memory: { budgetMb: 1_000 }, gpu: { mode: 'mock', mockCount: 1 } });
    server(0).running.push('job');
    server(0).pending.push('next');
    await machine.advance(5_000);
    machine.world.kernel.resident(of(0).pid, 1_500 * MEBIBYTE);
    await machine.advance(120_000);
    expect(restarts()).toEqual([]);
    expect(machine.instance(0)).toMatchObject({ ready: false, hold: expect.stringContaining('2 jobs') });
    server(0).running.pop();
    server(0).pending.pop();
    await machine.until('it was restarted', () => restarts().length === 1 && machine.isReady(), 20_000);
  });

  it('counts what its children hold, and a peak that passes is none', async () => {
    await ready({ memory: { budgetMb: 1_000 } });
    machine.world.kernel.add({ pid: 9_000, parent: of(0).pid, residentBytes: 1_200 * MEBIBYTE });
    await machine.advance(10_000);
    expect(machine.instance(0).verdicts[0]?.evidence[0]).toContain('1264 MiB in 2 processes');
    machine.world.kernel.remove(9_000);
    await machine.advance(60_000);
    expect(machine.instance(0).verdicts).toEqual([]);
    expect(restarts()).toEqual([]);
    expect(await machine.core.agent.metrics()).toContain('comfylet_instance_resident_bytes');
  });
});

describe('logs', () => {
  it('those that somebody writes are kept small, and a flood is told without a restart', async () => {
    await ready({ log: { maxFileMb: 20, keepFiles: 2 } });
    const log = '/workspace/logs/comfyui-gpu0.log';
    expect(machine.world.upkeep.bounds()).toMatchObject({ maxBytes: 20 * MEBIBYTE, keepFiles: 2 });
    expect(machine.world.upkeep.bounds()?.logs).toEqual(
      expect.arrayContaining([log, '/workspace/logs/comfyui-gpu1.log', '/workspace/logs/pm2.log']),
    );
    machine.world.upkeep.growth.set(log, { bytesPerSecond: 30 * MEBIBYTE, cutBytes: 5 });
    await machine.advance(6_000);
    expect(machine.instance(0)).toMatchObject({ ready: true, verdicts: [{ fault: 'log-flood' }] });
    // Not over before it is clearly over.
    machine.world.upkeep.growth.set(log, { bytesPerSecond: 0.8 * MEBIBYTE, cutBytes: 5 });
    await machine.advance(6_000);
    expect(machine.instance(0).verdicts).toHaveLength(1);
    machine.world.upkeep.growth.set(log, { bytesPerSecond: 0.1 * MEBIBYTE, cutBytes: 5 });
    await machine.advance(6_000);
    expect(machine.instance(0).verdicts).toEqual([]);
    expect(restarts()).toEqual([]);
  });
});

describe('agent cleanup', () => {
  const OUTPUTS = '/workspace/shared/outputs/gpu0';
  const TEMP = '/workspace/instances/gpu0/temp';
  const cleanup = async (dryRun = false) => machine.finished(await machine.core.agent.startOperation({ kind: 'cleanup', dryRun }));

  it('by default deletes old temporary files and no output, and tells what it freed', async () => {
    await ready({ cleanup: { periodMs: 0 } });
    const { upkeep } = machine.world;
    upkeep.found.set(TEMP, [file('old.png', 25 * HOUR), file('new.png', HOUR)]);
    upkeep.found.set(OUTPUTS, [file('work.png', 1_000 * HOUR)]);
    const looked = await cleanup(true);
    expect(looked).toMatchObject({
      state: 'succeeded',
      message: 'would free 1.0 MiB: temp 1 (1.0 MiB)',
      cleanup: { dryRun: true, freedBytes: MEBIBYTE },
    });
    expect(upkeep.removed).toEqual([]);
    expect(machine.journal('cleanup.done')).toEqual([]);
    const done = await cleanup();
    expect(done.message).toBe('freed 1.0 MiB: temp 1 (1.0 MiB)');
    expect(upkeep.removed).toEqual([`${TEMP}/old.png`]);
    expect(machine.journal('cleanup.done')).toMatchObject([
      { data: { freedBytes: MEBIBYTE, areas: [{ area: 'temp', files: 1, bytes: MEBIBYTE }] } },
    ]);
    expect(await machine.core.agent.metrics()).toContain('comfylet_cleanup_freed_bytes_total');
    expect((await cleanup()).message).toBe('nothing to delete');
    expect(machine.journal('cleanup.done')).toHaveLength(1);
  });

  it('deletes outputs when that is asked for, but not what is kept', async () => {
    await ready({ cleanup: { periodMs: 0, outputs: { maxAgeMs: HOUR, keep: ['best/**'] } } });
    machine.world.upkeep.found.set(OUTPUTS, [file('a.png', 2 * HOUR), file('best/b.png', 2 * HOUR)]);
    await cleanup();
    expect(machine.world.upkeep.removed).toEqual([`${OUTPUTS}/a.png`]);
  });

  it('enters nothing that a link leads to', async () => {
    await ready({ cleanup: { periodMs: 0, outputs: { maxAgeMs: HOUR } } });
    const { files, upkeep } = machine.world;
    await files.remove(OUTPUTS);
    await files.ensureDirectory('/mnt/pictures');
    await files.link('/mnt/pictures', OUTPUTS);
    upkeep.found.set(OUTPUTS, [file('a.png', 2 * HOUR)]);
    const { cleanup: document } = await cleanup();
    expect(upkeep.removed).toEqual([]);
    expect(document?.areas.find((area) => area.directory === OUTPUTS)?.problem).toBe(
      'it leads to /mnt/pictures through a link: not cleaned',
    );
  });

  it('keeps the newest installation logs, removes bytecode of releases that are gone, and leaves caches alone', async () => {
    await ready({ cleanup: { periodMs: 0 }, log: { keepInstallLogs: 2 } });
    const { files } = machine.world;
    for (const day of ['01', '02', '03']) files.put(`/workspace/logs/install-202601${day}.log`, 'log');
    files.put('/workspace/cache/pycache/gone', 'x', { modifiedAt: NOW - HOUR });
    files.put('/workspace/cache/git/mirror/HEAD', 'x', { modifiedAt: NOW - 1_000 * HOUR });
    await cleanup();
    const logs = (await files.list('/workspace/logs')).filter((name) => name.startsWith('install-2026010'));
    expect(logs).toEqual(['install-20260103.log']);
    expect(await files.exists('/workspace/cache/pycache/gone')).toBe(false);
    expect(await files.exists('/workspace/cache/git/mirror/HEAD')).toBe(true);
  });

  it('knows caches that lie where the agent alone may write', async () => {
    await ready({ cleanup: { periodMs: 0, caches: { maxAgeMs: HOUR } } });
    const { files } = machine.world;
    const old = ['/workspace/agent-only/git/mirror', '/workspace/agent-only/archives/0a.zip', '/workspace/cache/archives/0b.zip'];
    for (const path of old) files.put(path, 'x', { modifiedAt: NOW - 1_000 * HOUR });
    const kept = ['/workspace/agent-only/trees/unfinished', '/workspace/agent-only/folders/shared/HEAD'];
    for (const path of kept) files.put(path, 'x', { modifiedAt: NOW - 1_000 * HOUR });
    await cleanup();
    expect(await Promise.all(old.map((path) => files.exists(path)))).toEqual([false, false, false]);
    expect(await Promise.all(kept.map((path) => files.exists(path)))).toEqual([true, true]);
  });

  it('runs by itself, on its schedule', async () => {
    await ready({ cleanup: { periodMs: 10 * 60_000 } });
    const { upkeep } = machine.world;
    upkeep.found.set(TEMP, [file('old.png', 25 * HOUR)]);
    await machine.until('it was cleaned', () => upkeep.removed.length === 1, 120_000);
    upkeep.found.set(TEMP, [file('older.png', 26 * HOUR)]);
    await machine.advance(5 * 60_000);
    expect(upkeep.removed).toHaveLength(1);
    await machine.advance(6 * 60_000);
    expect(upkeep.removed).toHaveLength(2);
  });
});

describe('a disk that fills', () => {
  const space = (freeMb: number) => ({
    freeBytes: freeMb * MEBIBYTE,
    totalBytes: 100_000 * MEBIBYTE,
    freeInodes: null,
    totalInodes: null,
    device: '1',
  });

  it('is told with its rate; below the minimum what the policy permits is deleted, and instances stay up', async () => {
    await ready({ cleanup: { periodMs: 0 }, disk: { warnFreeMb: 3_000, minFreeMb: 500 } });
    const { upkeep } = machine.world;
    upkeep.found.set('/workspace/instances/gpu0/temp', [file('a.png', HOUR), file('writing.png', 1_000)]);
    upkeep.found.set('/workspace/shared/outputs/gpu0', [file('work.png', 1_000 * HOUR)]);
    for (let freeMb = 10_000; freeMb > 2_000; freeMb -= 500) {
      upkeep.spaces.set('/', space(freeMb));
      await machine.advance(5_000);
    }
    const [verdict] = machine.core.documents().health.verdicts;
    expect(verdict).toMatchObject({ fault: 'disk-filling', remedy: 'none' });
    expect(verdict?.reason).toMatch(/free of 100000 MiB; it is full in \d+ s at the present rate$/);
    expect(upkeep.removed).toEqual([]);
    upkeep.spaces.set('/', space(400));
    await machine.until('it was cleaned', () => upkeep.removed.length > 0, 20_000);
    expect(upkeep.removed).toEqual(['/workspace/instances/gpu0/temp/a.png']);
    expect(machine.instance(0).ready).toBe(true);
    upkeep.spaces.set('/', space(50_000));
    await machine.advance(130_000);
    expect(faults()).toEqual([]);
    expect(restarts()).toEqual([]);
  });
});

describe('memory of the machine', () => {
  it('that runs out is told, and nothing is done; what cannot be read is not told', async () => {
    await ready({});
    const { upkeep } = machine.world;
    upkeep.memory = { availableBytes: 10 * MEBIBYTE, totalBytes: 1_000 * MEBIBYTE, limitedBy: 'machine' };
    await machine.advance(6_000);
    expect(faults()).toEqual(['memory-growth']);
    upkeep.memory = null;
    await machine.advance(6_000);
    expect(faults()).toEqual([]);
  });
});
