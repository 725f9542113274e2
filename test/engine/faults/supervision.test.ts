import { afterEach, describe, expect, it } from 'vitest';
import type { ConfigInput } from '../../../src/domain/configuration/config.ts';
import { supervisionSamples } from '../../../src/engine/reports/metrics/supervision.ts';
import { aReadyMachine, type Machine } from '../../support/machine/machine.ts';
import { createWorld, urlOf } from '../../support/machine/world.ts';

/** Faults in memory: how soon they are told, what is done about them and what is not touched. */

let machine: Machine;
afterEach(async () => {
  // Requests to servers that hung run into their limits.
  await machine.advance(10_000);
  await machine.stop();
  log = '';
});

const NAME = 'comfyui-gpu0';
const LOG = '/workspace/logs/comfyui-gpu0.log';
const START = ['Starting server', 'To see the GUI go to: http://127.0.0.1:8188'];
const begin = async (config: ConfigInput = {}) => {
  machine = await aReadyMachine({ config });
  const client = machine.world.pm2.client();
  await client.connect();
  client.onEvent((event) => {
    if (event.kind === 'online' && event.name === NAME) said(...START);
  });
  said(...START);
  await machine.advance(2_000);
  return machine.world.comfy.serve(urlOf(8188));
};
const pid = () => machine.world.running().get(NAME)?.pid ?? 0;
const faults = () => machine.instance(0).verdicts.map(({ fault }) => fault);
let log = '';
const said = (...lines: string[]) => {
  log += `${lines.join('\n')}\n`;
  machine.world.files.put(LOG, log);
};
const now = () => machine.world.clock.now();
/** @returns after how many milliseconds it was so */
const lasts = async (what: string, isSo: () => boolean, limitMs: number) => {
  const from = now();
  await machine.until(what, isSo, limitMs);
  return now() - from;
};
const journalOf = (fault: string) =>
  machine
    .events('fault')
    .filter((_, index) => machine.world.journal.entries.filter(({ type }) => type.startsWith('fault'))[index]?.data['fault'] === fault);

describe('a process that answers no HTTP', () => {
  it('is not ready within ten seconds and restarted when it stands still, and the other one serves', async () => {
    const server = await begin();
    const before = pid();
    server.behaviour = 'hung';
    expect(await lasts('it is not ready', () => !machine.instance(0).ready, 20_000)).toBeLessThanOrEqual(10_000);
    await machine.until(
      'it is told to stand still',
      () => machine.instance(0).verdicts[0]?.reason.includes('stands still') === true,
      10_000,
    );
    expect(machine.instance(0)).toMatchObject({ status: 'unhealthy', layers: { runtime: { status: 'fail' } } });
    expect(machine.instance(1).ready).toBe(true);
    await machine.until('it serves again', () => machine.instance(0).ready && pid() !== before, 60_000);
    expect(machine.instance(0).restarts).toMatchObject({ total: 1, lastReason: expect.stringContaining('ended because of hang') });
    expect(journalOf('hang')).toEqual(['instance 0: fault.seen', 'instance 0: fault.gone']);
    expect(machine.world.pm2.calls.filter((call) => call.endsWith('gpu1'))).toHaveLength(1);
  });

  it('is left alone for minutes while it is busy, and goes on as it was', async () => {
    const server = await begin();
    const before = pid();
    server.behaviour = 'hung';
    for (let seconds = 0; seconds < 160; seconds++) {
      machine.world.kernel.activity(before, 'R', 10_000 + seconds * 900);
      await machine.advance(1_000);
    }
    expect(machine.instance(0)).toMatchObject({ ready: false, pid: before });
    expect(faults()).toEqual(['busy-without-answer']);
    server.behaviour = 'serving';
    await machine.until('it is ready', () => machine.instance(0).ready, 10_000);
    expect(pid()).toBe(before);
    expect(machine.instance(0).restarts.total).toBe(0);
  });

  it('is ended when it is busy for longer than its grace', async () => {
    const server = await begin({ health: { hangGraceMs: 60_000 } });
    const before = pid();
    server.behaviour = 'hung';
    for (let seconds = 0; seconds < 75 && pid() === before; seconds++) {
      machine.world.kernel.activity(before, 'R', 10_000 + seconds * 900);
      await machine.advance(1_000);
    }
    expect(pid()).not.toBe(before);
  });

  it('stopped: is named, and restarted sooner', async () => {
    const server = await begin();
    const before = pid();
    server.behaviour = 'hung';
    machine.world.kernel.activity(before, 'T', 500);
    await machine.until('it is named', () => faults().includes('stopped-process'), 20_000);
    expect(await lasts('it is restarted', () => pid() !== before, 60_000)).toBeLessThanOrEqual(35_000);
  });
});

describe('the worker thread', () => {
  it('takes nothing from its queue: not ready within fifteen seconds, then restarted', async () => {
    const server = await begin();
    const before = pid();
    server.behaviour = 'zombie';
    server.pending.push('job');
    // In memory a start takes no time: it is not ready for a moment only.
    expect(await lasts('it is restarted', () => pid() !== before, 20_000)).toBeLessThanOrEqual(15_000);
    await machine.until('it serves again', () => machine.instance(0).ready, 10_000);
    expect(journalOf('worker-dead')).toEqual(['instance 0: fault.seen', 'instance 0: fault.gone']);
    expect(machine.journal('instance.not-ready').at(-1)?.message).toContain('never run');
  });

  it.each([
    ['an exception', ['Exception in thread Thread-1 (prompt_worker):', 'Traceback (most recent call last):']],
    ['sys.exit in a node', ['[agent] thread ended by SystemExit: Thread-1 (prompt_worker)']],
  ])('ended by %s: known within seconds, from the log', async (_, lines) => {
    await begin();
    const before = pid();
    said('got prompt', ...lines);
    expect(await lasts('it is restarted', () => pid() !== before, 10_000)).toBeLessThanOrEqual(4_000);
    expect(machine.journal('fault.seen').at(-1)).toMatchObject({ data: { fault: 'worker-dead', evidence: lines } });
  });

  it('of an earlier process is none of the present one', async () => {
    const world = await createWorld();
    world.files.put(LOG, ['Exception in thread Thread-1 (prompt_worker):', ...START, ''].join('\n'));
    machine = await aReadyMachine({ world });
    const before = pid();
    await machine.advance(20_000);
    expect(pid()).toBe(before);
    expect(faults()).toEqual([]);
  });

  it('runs one job for hours: left alone while it moves, ended when neither log nor CPU does', async () => {
    const server = await begin({ health: { noProgressMs: 120_000 } });
    const before = pid();
    server.running.push('film');
    for (let minutes = 0; minutes < 6; minutes++) {
      said(`step ${minutes}`);
      await machine.advance(60_000);
    }
    expect(machine.instance(0)).toMatchObject({ ready: true, pid: before, verdicts: [] });
    await machine.until('it is told', () => faults().includes('job-without-progress') || pid() !== before, 180_000);
    server.running.length = 0;
    await machine.until('it serves again', () => machine.instance(0).ready && pid() !== before, 60_000);
  });
});

describe('CUDA', () => {
  it('a broken context: the instance is restarted, and no other', async () => {
    await begin();
    const before = pid();
    said('!!! Exception during processing !!! CUDA error: an illegal memory access was encountered');
    await machine.until('it serves again', () => machine.instance(0).ready && pid() !== before, 60_000);
    expect(machine.instance(0).restarts.lastReason).toContain('cuda-error');
  });

  it('out of memory: memory is freed once for each time, nothing is restarted, and it stays ready', async () => {
    const server = await begin();
    const before = pid();
    const freed = () => server.calls.filter((call) => call === 'free').length;
    said('Got an OOM, unloading all loaded models.');
    await machine.until('memory is freed', () => freed() === 1, 10_000);
    await machine.advance(20_000);
    expect(machine.instance(0)).toMatchObject({ ready: true, status: 'degraded', pid: before });
    expect(freed()).toBe(1);
    said('Got an OOM, unloading all loaded models.', 'got prompt', 'Got an OOM, unloading all loaded models.');
    await machine.until('memory is freed again', () => freed() === 2, 10_000);
    await machine.until('it is over', () => machine.instance(0).status === 'healthy', 70_000);
    expect(pid()).toBe(before);
  });
});

describe('a WebSocket that cannot be opened', () => {
  it('makes the instance not ready, and it is ready again with the WebSocket', async () => {
    const server = await begin();
    const before = pid();
    server.hasWebSocket = false;
    expect(await lasts('it is told', () => faults().includes('websocket-gone'), 30_000)).toBeLessThanOrEqual(16_000);
    expect(machine.instance(0).ready).toBe(false);
    server.hasWebSocket = true;
    await machine.until('it is ready', () => machine.instance(0).ready, 4_000);
    expect(pid()).toBe(before);
  });

  it('is restarted once its jobs are done', async () => {
    const server = await begin();
    const before = pid();
    server.hasWebSocket = false;
    server.running.push('job');
    await machine.advance(90_000);
    expect(pid()).toBe(before);
    expect(machine.instance(0).hold).toContain('restarts after 1 job');
    server.running.length = 0;
    await machine.until('it is restarted', () => pid() !== before, 10_000);
  });
});

describe('a crash loop', () => {
  const HEALTH = { backOff: { afterExits: 2, initialMs: 5_000 }, maxRestartsInWindow: 4, quarantine: { coolDownMs: 120_000 } };
  const crash = async () => {
    machine.world.pm2.exit(NAME, { exitCode: 1 });
    await machine.advance(100);
  };
  const crashUntilQuarantined = async () => {
    for (let crashes = 0; machine.instance(0).status !== 'quarantined'; crashes++) {
      if (crashes > 20) throw new Error('it is never quarantined');
      await machine.until('it runs or is given up', () => pid() !== 0 || machine.instance(0).status === 'quarantined', 60_000);
      if (pid() !== 0) await crash();
      await machine.advance(1_000);
    }
  };

  it('starts again at once, then after pauses that grow and are told, then not at all; the other one serves', async () => {
    await begin({ health: HEALTH });
    const pauses: number[] = [];
    for (let crashes = 0; crashes < 4; crashes++) {
      await crash();
      if (machine.instance(0).hold !== null) expect(machine.instance(0).hold).toMatch(/it is started again at 2026/);
      pauses.push(Math.round((await lasts('it runs', () => pid() !== 0, 60_000)) / 1_000));
      await machine.advance(1_000);
    }
    expect(pauses.slice(0, 2)).toEqual([0, 0]);
    expect(pauses[2]).toBeGreaterThanOrEqual(4);
    expect(pauses[3]).toBeGreaterThanOrEqual(9);
    await crash();
    await machine.until('it is quarantined', () => machine.instance(0).status === 'quarantined', 10_000);
    expect(faults()).toEqual(['crash-loop', 'process-exit']);
    expect(machine.instance(0).verdicts[0]).toMatchObject({
      next: expect.stringContaining('agent unquarantine 0'),
      evidence: expect.any(Array),
    });
    expect(machine.instance(1).ready).toBe(true);
  });

  it('is set free by a canary that passes after the cool-down', async () => {
    await begin({ health: HEALTH });
    await crashUntilQuarantined();
    await machine.advance(100_000);
    expect(machine.world.running().has(NAME)).toBe(false);
    await machine.until('it is ready', () => machine.instance(0).ready, 60_000);
    expect(machine.journal('action.trial-start')).toHaveLength(1);
    expect(machine.journal('action.release-instance')).toHaveLength(1);
    expect(machine.instance(0)).toMatchObject({ status: 'healthy', restarts: { inWindow: 0 } });
  });

  it('goes back for twice as long when the trial fails, and was never ready meanwhile', async () => {
    await begin({ health: HEALTH });
    await crashUntilQuarantined();
    machine.world.boot = 'silent';
    await machine.until('it is tried', () => machine.journal('action.trial-start').length === 1, 150_000);
    await machine.until('it runs', () => pid() !== 0, 10_000);
    expect(machine.instance(0)).toMatchObject({ status: 'quarantined', ready: false });
    await crash();
    await machine.until(
      'it is back',
      () => !machine.world.running().has(NAME) && machine.instance(0).hold?.includes('trial start failed') === true,
      20_000,
    );
    machine.world.boot = 'serve';
    await machine.advance(200_000);
    expect(machine.journal('action.trial-start')).toHaveLength(1);
    await machine.until('it is ready', () => machine.instance(0).ready, 90_000);
  });

  it('of restarts by the agent is one too', async () => {
    await begin({ health: HEALTH });
    for (let round = 0; machine.instance(0).status !== 'quarantined'; round++) {
      if (round > 200) throw new Error('it is never quarantined');
      if (pid() !== 0) said(`round ${round}`, '!!! Exception during processing !!! CUDA error: device-side assert triggered');
      await machine.advance(2_000);
    }
    expect(machine.instance(0).hold).toContain('ended 5 times');
    expect(machine.world.pm2.calls.filter((call) => call === `start ${NAME}`).length).toBeLessThanOrEqual(6);
  });

  it('by hand it is started at once', async () => {
    await begin({ health: HEALTH });
    await crashUntilQuarantined();
    await machine.core.agent.patchInstance('0', { quarantined: false });
    await machine.until('it is ready', () => machine.instance(0).ready, 20_000);
    expect(faults()).toEqual([]);
  });
});

describe('/metrics', () => {
  it('counts ends by their cause, and tells faults, probes and the canary', async () => {
    await begin();
    said('Exception in thread Thread-1 (prompt_worker):');
    await machine.until('it is restarted', () => machine.instance(0).restarts.total === 1, 10_000);
    machine.world.pm2.exit(NAME, { exitCode: 1 });
    await machine.until('it serves', () => machine.instance(0).ready, 10_000);
    const samples = supervisionSamples(machine.core.knowledge, machine.core.documents()).filter(({ labels }) => labels['gpu'] === '0');
    const value = (name: string, labels: object) =>
      samples.find((each) => each.name === name && Object.entries(labels).every(([key, is]) => each.labels[key] === is))?.value;
    expect(value('comfylet_instance_ends_total', { cause: 'worker-dead' })).toBe(1);
    expect(value('comfylet_instance_ends_total', { cause: 'process-exit' })).toBe(1);
    expect(value('comfylet_instance_quarantined', {})).toBe(0);
    expect(value('comfylet_probe_failures', { probe: 'http' })).toBe(0);
    expect(value('comfylet_canary_seconds', {})).toBeGreaterThanOrEqual(0);
  });
});
