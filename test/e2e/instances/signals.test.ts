import { spawn } from 'node:child_process';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, expect, it } from 'vitest';
import { createKernel } from '../../../src/adapters/kernel/kernel.ts';
import { AGENT, startAgent, stopAgents } from '../../support/agent/agent.ts';
import { isAlive } from '../../support/agent/scene.ts';
import { eventually } from '../../support/eventually.ts';

/** Signals that mean nothing to the agent: Node.js would open its inspector at one, and end at the other. */

const INSPECTOR = 9_229;
const MEANINGLESS = ['SIGUSR1', 'SIGUSR2'] as const;

afterEach(stopAgents);

const inspectedPids = async (): Promise<readonly (number | null)[]> =>
  (await createKernel().portHolders([INSPECTOR])).map(({ pid }) => pid);

/** Whether the process has taken every signal that was sent to it. */
const hasTaken = async (pid: number): Promise<boolean> =>
  /^S(?:hd|ig)Pnd:\t0+$/m.test(await readFile(`/proc/${pid}/status`, 'utf8').catch(() => ''));

async function signal(pid: number): Promise<void> {
  for (const name of MEANINGLESS) process.kill(pid, name);
  await eventually('the signals were taken', () => hasTaken(pid));
}

it('SIGUSR1 and SIGUSR2 open and end nothing, in the agent and in the process that hosts PM2', async () => {
  const agent = await startAgent({ gpus: 1 });
  await agent.untilReady([0]);
  const host = Number(await readFile(join(agent.root, 'state/pm2/pm2.pid'), 'utf8'));
  const before = await agent.instance(0);
  for (const pid of [agent.pid, host]) await signal(pid);
  // Both answer after it, so what the signals did is done.
  const after = await agent.json<{ instances: { pid: number }[] }>('status').then(() => agent.instance(0));
  expect(await agent.cli('restart', '0')).toMatchObject({ code: 0 });
  expect(after.pid).toBe(before.pid);
  expect([isAlive(agent.pid), isAlive(host)]).toEqual([true, true]);
  const inspected = await inspectedPids();
  expect(inspected).not.toContain(agent.pid);
  expect(inspected).not.toContain(host);
  expect(agent.output()).not.toMatch(/inspector|Debugger/i);
});

it('nor in a command that lasts', async () => {
  const agent = await startAgent({ gpus: 1 });
  const child = spawn(process.execPath, [AGENT, 'logs', 'agent', '--follow', '--root', agent.root], {
    env: agent.environment,
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let text = '';
  for (const stream of [child.stdout, child.stderr]) stream.on('data', (chunk) => (text += String(chunk)));
  try {
    const pid = child.pid ?? 0;
    await eventually('the command reads', () => text !== '', 20_000);
    await signal(pid);
    expect(await inspectedPids()).not.toContain(pid);
    expect(isAlive(pid)).toBe(true);
    expect(text).not.toMatch(/inspector|Debugger/i);
  } finally {
    child.kill('SIGKILL');
  }
});
