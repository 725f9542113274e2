import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { Incarnation } from '../../../src/domain/instances/instance.ts';
import type { Kernel } from '../../../src/ports/kernel.ts';
import { freePort } from '../../support/comfyui/simulator.ts';
import { eventually } from '../../support/eventually.ts';
import { fakeKernelHarness, type KernelHarness, realKernelHarness } from '../../support/kernel/harness.ts';

const NO_SUCH_PID = 4_999_999;

describe.each([
  ['fake', fakeKernelHarness],
  ['/proc', realKernelHarness],
] as const)('Kernel, %s', (name, open) => {
  let harness: KernelHarness;
  let kernel: Kernel;
  beforeEach(async () => {
    harness = await open();
    kernel = harness.kernel;
  });
  afterEach(() => harness.close());

  it('identifies a process by pid and start, the same at each look', async () => {
    const before = Date.now();
    const { pid } = await harness.start();
    const first = await kernel.incarnation(pid);
    expect(Incarnation.parse(first)).toEqual(first);
    expect(first).toMatchObject({ pid, startTicks: expect.stringMatching(/^\d+$/) });
    const startedAt = Date.parse(first?.startedAt ?? '');
    expect(startedAt).toBeGreaterThan(before - 100);
    expect(startedAt).toBeLessThan(Date.now() + 100);
    expect(await kernel.incarnation(pid)).toEqual(first);
  });

  it('knows no process that has ended', async () => {
    const { pid } = await harness.start();
    await harness.kill(pid);
    expect(await kernel.incarnation(pid)).toBeNull();
    expect(await kernel.incarnation(NO_SUCH_PID)).toBeNull();
    expect(await kernel.command(pid)).toBeNull();
    expect(await kernel.tree(pid)).toEqual([]);
    expect(await kernel.residentBytes(pid)).toBeNull();
    expect(await kernel.environmentOf(pid, 'PATH')).toBeNull();
  });

  it('tells the state of a process and the CPU time of all below it', async () => {
    const { pid } = await harness.start({ child: {} });
    expect(await kernel.activity(pid)).toMatchObject({ state: expect.stringMatching(/^[RSD]$/), waitsForDisk: expect.any(Boolean) });
    harness.halt(pid);
    await eventually('it is stopped', async () => (await kernel.activity(pid))?.state === 'T');
    const before = await kernel.activity(pid);
    expect(before?.cpuMs).toBeGreaterThanOrEqual(0);
    expect(await kernel.activity(NO_SUCH_PID)).toBeNull();
  });

  it('takes a zombie for gone', async () => {
    const { parent, zombie } = await harness.zombieChild();
    await eventually('the child has ended', async () => (await kernel.incarnation(zombie)) === null);
    expect(await kernel.tree(zombie)).toEqual([]);
    expect(await kernel.tree(parent)).toEqual([parent]);
    expect(await kernel.incarnation(parent)).not.toBeNull();
  });

  it('tells command, memory and environment', async () => {
    const { pid } = await harness.start({ environment: { AGENT_TEST_NAME: 'a=b c', EMPTY: '' } });
    expect(await kernel.command(pid)).toMatch(/\w/);
    expect(await kernel.residentBytes(pid)).toBeGreaterThan(1024 * 1024);
    expect(await kernel.environmentOf(pid, 'AGENT_TEST_NAME')).toBe('a=b c');
    expect(await kernel.environmentOf(pid, 'EMPTY')).toBe('');
    expect(await kernel.environmentOf(pid, 'AGENT_TEST')).toBeNull();
  });

  it('finds processes by a variable of their environment', async () => {
    const value = crypto.randomUUID();
    const one = await harness.start({ environment: { AGENT_TEST_ROOT: value }, child: {} });
    await harness.start({ environment: { AGENT_TEST_ROOT: `${value}-other` } });
    const found = await kernel.withEnvironment('AGENT_TEST_ROOT', value);
    // The fake hands the environment to the child, as the kernel does.
    expect(found).toContain(one.pid);
    expect([...found].sort((a, b) => a - b)).toEqual([one.pid, one.child?.pid].sort((a, b) => (a ?? 0) - (b ?? 0)));
    expect(await kernel.withEnvironment('AGENT_TEST_ROOT', 'nobody')).toEqual([]);
  });

  it('tells who a process is: which one, and what it was asked for of its environment', async () => {
    const { pid } = await harness.start({ environment: { AGENT_TEST_ROOT: '/workspace', EMPTY: '' } });
    expect(await kernel.identity(pid, ['AGENT_TEST_ROOT', 'EMPTY', 'AGENT_TEST_NONE'])).toEqual({
      incarnation: await kernel.incarnation(pid),
      environment: { AGENT_TEST_ROOT: '/workspace', EMPTY: '' },
    });
    await harness.kill(pid);
    expect(await kernel.identity(pid, ['AGENT_TEST_ROOT'])).toBeNull();
    expect(await kernel.identity(NO_SUCH_PID, [])).toBeNull();
  });

  it('finds processes by a variable of whatever value', async () => {
    const variable = `AGENT_TEST_${crypto.randomUUID().replaceAll('-', '')}`;
    const one = await harness.start({ environment: { [variable]: 'a' } });
    const other = await harness.start({ environment: { [variable]: '' } });
    await harness.start({ environment: { [`${variable}_LONGER`]: 'a' } });
    expect([...(await kernel.withEnvironment(variable, null))].sort()).toEqual([one.pid, other.pid].sort());
    expect(await kernel.withEnvironment(variable, 'a')).toEqual([one.pid]);
  });

  it('lists a process with all below it', async () => {
    const { pid, child } = await harness.start({ child: {} });
    expect(await kernel.tree(pid)).toEqual([pid, child?.pid]);
    expect(await kernel.tree(child?.pid ?? 0)).toEqual([child?.pid]);
    const both = await Promise.all([kernel.tree(pid), kernel.tree(process.pid)]);
    expect(both[0]).toEqual([pid, child?.pid]);
  });

  it('names who listens on a port', async () => {
    const { pid, tcpPort } = await harness.start({ listens: true });
    const free = name === 'fake' ? 39_999 : await freePort();
    const ports = [tcpPort ?? 0, free];
    expect(await kernel.portHolders(ports)).toEqual([{ tcpPort, pid, command: await kernel.command(pid) }]);
    // Asked again, when the holder is known.
    expect(await kernel.portHolders(ports)).toEqual([{ tcpPort, pid, command: await kernel.command(pid) }]);
    expect(await kernel.portHolders([free])).toEqual([]);
    await harness.kill(pid);
    expect(await kernel.portHolders(ports)).toEqual([]);
  });

  it('tells the listening of a process from that of its child', async () => {
    const { pid, tcpPort, child } = await harness.start({ listens: true, child: { listens: true } });
    if (tcpPort === null || child?.tcpPort == null) throw new Error('no ports');
    expect(await kernel.listensOn(pid, tcpPort)).toBe(true);
    expect(await kernel.listensOn(pid, child.tcpPort)).toBe(false);
    expect(await kernel.listensOn(child.pid, child.tcpPort)).toBe(true);
    const holders = await kernel.portHolders([tcpPort, child.tcpPort]);
    expect(new Map(holders.map((holder) => [holder.tcpPort, holder.pid]))).toEqual(
      new Map([
        [tcpPort, pid],
        [child.tcpPort, child.pid],
      ]),
    );
  });

  it('says that nobody listens where nobody does, and cannot tell of a process that is gone', async () => {
    const { tcpPort } = await harness.start({ listens: true });
    const idle = await harness.start();
    expect(await kernel.listensOn(idle.pid, name === 'fake' ? 39_999 : await freePort())).toBe(false);
    expect(await kernel.listensOn(idle.pid, tcpPort ?? 0)).toBe(false);
    await harness.kill(idle.pid);
    expect(await kernel.listensOn(idle.pid, tcpPort ?? 0)).toBeNull();
  });

  it('ends the incarnation it is given', async () => {
    const { pid } = await harness.start();
    const incarnation = await kernel.incarnation(pid);
    if (incarnation === null) throw new Error('not there');
    expect(await kernel.end(incarnation, 'SIGTERM')).toBe(true);
    await eventually('it has ended', async () => (await kernel.incarnation(pid)) === null);
    expect(await kernel.end(incarnation, 'SIGKILL')).toBe(false);
  });

  it('spares another process that got the pid', async () => {
    const { pid } = await harness.start();
    const incarnation = await kernel.incarnation(pid);
    expect(await kernel.end({ pid, startTicks: `${Number(incarnation?.startTicks) - 1}` }, 'SIGKILL')).toBe(false);
    expect(await kernel.incarnation(pid)).toEqual(incarnation);
  });

  it.each([[0], [1], [-1], [process.pid]])('never signals pid %i', async (pid) => {
    const startTicks = (await kernel.incarnation(pid))?.startTicks ?? '0';
    expect(await kernel.end({ pid, startTicks }, 'SIGTERM')).toBe(false);
  });
});
