import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { ProcessEvent } from '../../../src/domain/instances/instance.ts';
import type { Processes } from '../../../src/ports/pm2.ts';
import { eventually } from '../../support/eventually.ts';
import { fakeHarness, type ProcessesHarness, RESTART_DELAY_MS, realHarness } from '../../support/pm2/harness.ts';

const NAME = 'comfyui-gpu0';

describe.each([
  ['fake', fakeHarness],
  ['PM2', () => realHarness()],
] as const)('Processes, %s', (_kind, makeHarness) => {
  let harness: ProcessesHarness;
  let processes: Processes;
  let events: ProcessEvent[];

  const one = async (name: string) => (await processes.list()).find((found) => found.name === name);
  const exits = () => events.filter((event) => event.kind === 'exit');

  beforeEach(async () => {
    harness = await makeHarness();
    processes = harness.client();
    events = [];
    processes.onEvent((event) => events.push(event));
    await processes.connect();
  });
  afterEach(() => harness.close());

  it('starts an entry and lists it', async () => {
    expect(await processes.list()).toEqual([]);
    await processes.start(harness.entry(NAME));
    const serving = await harness.serving(NAME);
    expect(await processes.list()).toEqual([
      {
        name: NAME,
        status: 'online',
        pid: serving.pid,
        respawns: 0,
        entryDigest: expect.stringMatching(/^[0-9a-f]{16}$/),
        release: 'r1',
        tcpPort: 8190,
        startedAt: expect.any(Number),
      },
    ]);
    await eventually('online is told', () => events.some((event) => event.kind === 'online' && event.name === NAME));
  });

  it('keeps the digest that the caller gave', async () => {
    await processes.start(harness.entry(NAME, { environment: { AGENT_ENTRY_DIGEST: 'of-the-launch' } }));
    expect((await one(NAME))?.entryDigest).toBe('of-the-launch');
  });

  it('gives the process the environment of its entry and nothing of ours', async () => {
    process.env['SECRET_OF_AGENT'] = 'hidden';
    process.env['CUDA_VISIBLE_DEVICES'] = '77';
    try {
      await processes.start(harness.entry(NAME, { environment: { CUDA_VISIBLE_DEVICES: '1' } }));
      const { environment } = await harness.serving(NAME);
      expect(environment['CUDA_VISIBLE_DEVICES']).toBe('1');
      expect(environment['AGENT_INSTANCE']).toBe(NAME);
      const known = [
        'PATH',
        'SERVING_FILE',
        'CUDA_VISIBLE_DEVICES',
        'AGENT_RELEASE',
        'AGENT_PORT',
        'AGENT_INSTANCE',
        'AGENT_LOG_FILE',
        'AGENT_ENTRY_DIGEST',
      ];
      // The shell sets PWD, Python LC_CTYPE.
      expect(
        Object.keys(environment).filter((name) => !known.includes(name) && !['PWD', 'OLDPWD', '_', 'SHLVL', 'LC_CTYPE'].includes(name)),
      ).toEqual([]);
    } finally {
      delete process.env['SECRET_OF_AGENT'];
      delete process.env['CUDA_VISIBLE_DEVICES'];
    }
  });

  it('stops a process, keeps its entry stopped, and starts it again', async () => {
    await processes.start(harness.entry(NAME));
    const { pid } = await harness.serving(NAME);
    await processes.stop(NAME);
    expect(harness.isAlive(pid)).toBe(false);
    expect(await one(NAME)).toMatchObject({ status: 'stopped', pid: null });
    await eventually('the exit is told', () => exits().length > 0);
    expect(exits()).toEqual([expect.objectContaining({ name: NAME, requested: true })]);
    // Not an error the second time, nor for one that is not there.
    await processes.stop(NAME);
    await processes.stop('comfyui-gpu9');
    await processes.start(harness.entry(NAME));
    expect((await harness.serving(NAME, pid)).pid).not.toBe(pid);
  });

  it('removes a process and its entry', async () => {
    await processes.start(harness.entry(NAME));
    const { pid } = await harness.serving(NAME);
    await processes.remove(NAME);
    expect(harness.isAlive(pid)).toBe(false);
    expect(await processes.list()).toEqual([]);
    await processes.remove(NAME);
  });

  it('respawns what was killed, and tells the signal once', async () => {
    await processes.start(harness.entry(NAME));
    const { pid } = await harness.serving(NAME);
    await eventually('online is told', () => events.length > 0);
    events.length = 0;
    await harness.kill(NAME, 'SIGKILL');
    await eventually('it waits for its respawn', async () => (await one(NAME))?.pid !== pid);
    const again = await harness.serving(NAME, pid);
    expect(await one(NAME)).toMatchObject({ status: 'online', pid: again.pid, respawns: 1 });
    await eventually('online is told', () => events.some((event) => event.kind === 'online'));
    expect(exits()).toEqual([
      { kind: 'exit', name: NAME, pid, at: expect.any(Number), exitCode: null, signal: 'SIGKILL', requested: false },
    ]);
    const online = events.find((event) => event.kind === 'online');
    // The delay is kept; how much longer the machine takes is no matter of this contract.
    expect((online?.at ?? 0) - (exits()[0]?.at ?? 0)).toBeGreaterThanOrEqual(RESTART_DELAY_MS - 5);
  });

  it.each([0, 3])('tells exit code %i and respawns', async (exitCode) => {
    await processes.start(harness.entry(NAME));
    const { pid } = await harness.serving(NAME);
    await harness.exit(NAME, exitCode);
    await eventually('the exit is told', () => exits().length > 0);
    expect(exits()).toEqual([expect.objectContaining({ exitCode, signal: null, requested: false })]);
    expect((await harness.serving(NAME, pid)).pid).not.toBe(pid);
  });

  it('replaces an entry that changed, removed variables included', async () => {
    await processes.start(harness.entry(NAME, { environment: { OLD: '1' } }));
    const before = await one(NAME);
    await processes.start(harness.entry(NAME, { environment: { NEW: '1' } }));
    const serving = await harness.serving(NAME, before?.pid ?? 0);
    expect(serving.environment['NEW']).toBe('1');
    expect(serving.environment['OLD']).toBeUndefined();
    const after = await processes.list();
    expect(after).toHaveLength(1);
    expect(after[0]?.entryDigest).not.toBe(before?.entryDigest);
    expect(harness.isAlive(before?.pid ?? 0)).toBe(false);
  });

  it('makes one process of parallel starts of one name', async () => {
    await Promise.all([1, 2, 3, 4].map((n) => processes.start(harness.entry(NAME, { environment: { N: String(n) } }))));
    expect(await processes.list()).toHaveLength(1);
    expect((await harness.serving(NAME)).environment['N']).toBe('4');
  });

  it('refuses an entry whose directory is missing', async () => {
    await expect(processes.start(harness.entry(NAME, { cwd: '/nonexistent/ComfyUI' }))).rejects.toMatchObject({
      code: 'INSTANCE_FAILED',
      message: expect.stringContaining('/nonexistent/ComfyUI'),
    });
    expect(await processes.list()).toEqual([]);
  });

  it('leaves the processes to the next client when it disconnects', async () => {
    await processes.start(harness.entry(NAME));
    const { pid } = await harness.serving(NAME);
    await processes.disconnect();
    expect(harness.isAlive(pid)).toBe(true);
    const next = harness.client();
    const told: ProcessEvent[] = [];
    next.onEvent((event) => told.push(event));
    await next.connect();
    expect(await next.list()).toEqual([expect.objectContaining({ name: NAME, pid, respawns: 0 })]);
    events.length = 0;
    await harness.kill(NAME, 'SIGKILL');
    await eventually('the next client is told', () => told.some((event) => event.kind === 'exit'));
    expect(events).toEqual([]);
  });

  it('rejects when the daemon is gone, tells it once, and connect brings a new one', async () => {
    await processes.start(harness.entry(NAME));
    await harness.serving(NAME);
    await harness.killDaemon();
    await eventually('daemon-lost is told', () => events.some((event) => event.kind === 'daemon-lost'));
    await expect(processes.list()).rejects.toMatchObject({ code: 'PM2_UNAVAILABLE', retryable: true });
    await expect(processes.start(harness.entry(NAME))).rejects.toMatchObject({ code: 'PM2_UNAVAILABLE' });
    expect(await processes.daemonPid()).toBeNull();
    expect(events.filter((event) => event.kind === 'daemon-lost')).toHaveLength(1);
    await processes.connect();
    expect(await processes.list()).toEqual([]);
    expect(await processes.daemonPid()).not.toBeNull();
  });

  it('leaves no process behind when it shuts down', async () => {
    await processes.start(harness.entry(NAME));
    await processes.start(harness.entry('comfyui-gpu1'));
    const first = await harness.serving(NAME);
    const second = await harness.serving('comfyui-gpu1');
    const daemon = await processes.daemonPid();
    await processes.shutdown();
    expect([first.pid, second.pid, daemon ?? 0].filter(harness.isAlive)).toEqual([]);
    await expect(processes.list()).rejects.toMatchObject({ code: 'PM2_UNAVAILABLE' });
    // Nobody is told of a loss that was asked for, and a second time is no error.
    expect(events.filter((event) => event.kind === 'daemon-lost')).toEqual([]);
    await processes.shutdown();
  });
});
