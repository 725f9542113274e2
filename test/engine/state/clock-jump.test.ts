import { afterEach, describe, expect, it } from 'vitest';
import { InstanceRecords } from '../../../src/engine/instance-records.ts';
import type { Knowledge } from '../../../src/engine/knowledge.ts';
import { watchClock } from '../../../src/engine/state/clock-watch.ts';
import { createFakeClock } from '../../fakes/clock.ts';
import { NOW } from '../../support/machine/builders.ts';
import { aReadyMachine, type Machine } from '../../support/machine/machine.ts';
import { urlOf } from '../../support/machine/world.ts';

const HOUR = 3_600_000;
let machine: Machine;
afterEach(async () => {
  await machine?.stop();
});

const calls = () => machine.world.pm2.calls.length;
const serves = () => machine.core.documents().instances.instances.every((instance) => instance.ready);
const crash = async () => {
  machine.world.pm2.exit('comfyui-gpu0');
  await machine.until('it serves again', serves);
};
const server = () => machine.world.comfy.serve(urlOf(machine.world.running().get('comfyui-gpu0')?.tcpPort ?? 0));

describe('the watch on the clock', () => {
  it('tells of jumps, before it tells the time; not of time that passes, or of a clock that is slewed', async () => {
    const clock = createFakeClock();
    const jumps: number[] = [];
    const watched = watchClock(clock, (byMs) => jumps.push(byMs));
    await clock.advance(10 * HOUR);
    expect(watched.now()).toBe(NOW + 10 * HOUR);
    for (let second = 0; second < 100; second++) {
      clock.jump(100);
      await clock.advance(1_000);
      watched.now();
    }
    expect(jumps).toEqual([]);
    clock.jump(-5 * HOUR);
    watched.now();
    clock.jump(7 * HOUR);
    watched.now();
    expect(jumps).toEqual([-5 * HOUR, 7 * HOUR]);
  });
});

describe.each([
  ['forwards', 9 * HOUR],
  ['back', -9 * HOUR],
])('a wall clock that jumps %s', (_direction, byMs) => {
  it('is told, and nothing is restarted, started or stopped', async () => {
    machine = await aReadyMachine();
    const before = calls();
    const since = machine.core.documents().discovery.instances[0]?.since ?? '';
    const incarnation = machine.instance(0).startedAt ?? '';
    machine.world.clock.jump(byMs);
    await machine.advance(30_000);
    const { health, discovery } = machine.core.documents();
    expect(health).toMatchObject({ ready: true, capacity: '2/2', verdicts: [{ fault: 'clock-jump' }] });
    expect(machine.journal('clock.jump')).toMatchObject([{ data: { byMs } }]);
    expect(calls()).toBe(before);
    // As long ago as it really is.
    expect(Date.parse(discovery.instances[0]?.since ?? '') - Date.parse(since)).toBe(byMs);
    expect(Date.parse(machine.instance(0).startedAt ?? '') - Date.parse(incarnation)).toBe(byMs);
    await machine.advance(600_000);
    expect(machine.core.documents().health.verdicts).toEqual([]);
  });

  it('neither forgives a crash loop nor makes one', async () => {
    machine = await aReadyMachine({ config: { health: { maxRestartsInWindow: 3, restartWindowMs: 600_000 } } });
    for (let count = 0; count < 3; count++) await crash();
    expect(machine.instance(0).restarts.inWindow).toBe(3);
    machine.world.clock.jump(byMs);
    await machine.advance(1_000);
    expect(machine.instance(0).restarts.inWindow).toBe(3);
    await machine.advance(601_000);
    expect(machine.instance(0)).toMatchObject({ ready: true, restarts: { inWindow: 0 } });
  });

  it('does not cut a drain, and the restart that was asked for still comes', async () => {
    machine = await aReadyMachine({ config: { health: { drainTimeoutMs: 120_000 } } });
    server().running.push('job');
    await machine.advance(3_000);
    await machine.core.agent.startOperation({ kind: 'restart', gpus: [0], drain: true });
    await machine.advance(3_000);
    machine.world.clock.jump(byMs);
    await machine.advance(60_000);
    expect(machine.events('action.restart-instance')).toEqual([]);
    expect(machine.instance(0).hold).toContain('1 job');
    server().running.pop();
    await machine.until('it was restarted', () => machine.events('action.restart-instance').length === 1 && serves(), 20_000);
    await machine.advance(60_000);
    expect(machine.events('action.restart-instance')).toHaveLength(1);
  });

  it('a job that runs has not run for hours', async () => {
    machine = await aReadyMachine();
    server().running.push('job');
    await machine.advance(10_000);
    const before = calls();
    machine.world.clock.jump(byMs);
    await machine.advance(60_000);
    expect(machine.instance(0)).toMatchObject({ ready: true, verdicts: [] });
    expect(calls()).toBe(before);
  });

  it('does not release a quarantine, and a restart asked for after it is carried out', async () => {
    machine = await aReadyMachine({ config: { health: { maxRestartsInWindow: 1 } } });
    await crash();
    machine.world.pm2.exit('comfyui-gpu0');
    await machine.until('it is quarantined', () => machine.instance(0).status === 'quarantined');
    machine.world.clock.jump(byMs);
    await machine.advance(5_000);
    expect(machine.instance(0).status).toBe('quarantined');
    const operation = await machine.core.agent.startOperation({ kind: 'restart', gpus: [1] });
    expect((await machine.finished(operation)).state).toBe('succeeded');
    expect(machine.events('action.restart-instance')).toEqual(['instance 1: action.restart-instance']);
  });

  it('whoever waits for a restart is told when it is done', async () => {
    machine = await aReadyMachine();
    server().running.push('job');
    await machine.advance(3_000);
    const operation = await machine.core.agent.startOperation({ kind: 'restart', gpus: [0], drain: true });
    await machine.advance(5_000);
    machine.world.clock.jump(byMs);
    await machine.advance(5_000);
    server().running.pop();
    expect((await machine.finished(operation, 60_000)).state).toBe('succeeded');
    expect(machine.events('action.restart-instance')).toHaveLength(1);
  });

  it('a start that moves is not called stuck', async () => {
    machine = await aReadyMachine({ config: { health: { startupNoProgressMs: 60_000 } } });
    machine.world.boot = 'silent';
    await machine.core.agent.startOperation({ kind: 'restart', gpus: [0] });
    const log = '/workspace/logs/comfyui-gpu0.log';
    const work = async (ms: number) => {
      for (let past = 0; past < ms; past += 15_000) {
        machine.world.files.put(log, `line at ${past}`);
        await machine.advance(15_000);
      }
    };
    await work(90_000);
    expect(machine.instance(0).status).toBe('starting');
    machine.world.clock.jump(byMs);
    await machine.advance(30_000);
    expect(machine.instance(0).status).toBe('starting');
    await work(75_000);
    expect(machine.instance(0).status).toBe('starting');
    // And one that does not move still is.
    await machine.advance(80_000);
    expect(machine.instance(0).status).toBe('unhealthy');
  });
});

describe('what is kept of moments', () => {
  /** Every moment below a value, as a path and epoch milliseconds. */
  const moments = (value: unknown, path: string, seen = new Set<unknown>()): [string, number][] => {
    if (typeof value === 'number') return value > NOW - 100 * 24 * HOUR && value < NOW + 100 * 24 * HOUR ? [[path, value]] : [];
    if (typeof value === 'string') return /^\d{4}-\d\d-\d\dT[\d:.]+Z$/.test(value) ? [[path, Date.parse(value)]] : [];
    if (typeof value !== 'object' || value === null || seen.has(value)) return [];
    seen.add(value);
    const entries: (readonly [unknown, unknown])[] =
      value instanceof Map || value instanceof InstanceRecords ? [...value] : Object.entries(value);
    return entries.flatMap(([key, each]) => moments(each, `${path}.${String(key)}`, seen));
  };
  /** Looked at afresh by each turn, written in files by their clock, or only compared with themselves. */
  const OTHERS =
    /^\.(observed|desired|configuration|inputs|leases|gpus|cards|machine|launches|installProgress|models|instances\.\d+\.log\.changedAt)(?:\.|$)/;

  it('every moment that the engine knows is moved with the clock', async () => {
    machine = await aReadyMachine({ config: { health: { drainTimeoutMs: 120_000 } } });
    await crash();
    server().running.push('job');
    await machine.advance(3_000);
    await machine.core.agent.startOperation({ kind: 'restart', gpus: [0], drain: true });
    await machine.advance(5_000);
    const { knowledge } = machine.core as { readonly knowledge: Knowledge };
    const before = new Map(moments(knowledge, '').filter(([path]) => !OTHERS.test(path)));
    machine.world.clock.jump(-9 * HOUR);
    // Any question for the time notices it.
    await machine.core.agent.liveness();
    const after = new Map(moments(knowledge, ''));
    const wrong = [...before].filter(([path, at]) => after.get(path) !== at - 9 * HOUR).map(([path]) => path);
    expect(before.size).toBeGreaterThan(15);
    expect(wrong).toEqual([]);
  });
});
