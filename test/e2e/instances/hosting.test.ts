import type { ChildProcess } from 'node:child_process';
import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, describe, expect, it } from 'vitest';
import { newRoot, startAgent, stopAgents, type TestAgent } from '../../support/agent/agent.ts';
import { healthOf, isAlive, pidsOf, untilHealthy, untilHeld, untilInstance } from '../../support/agent/scene.ts';
import { eventually } from '../../support/eventually.ts';
import { endExternalPm2, startExternalPm2 } from '../../support/pm2/external.ts';

/** Who hosts the instances, what they outlive, and what they are not told. */

const daemons: ChildProcess[] = [];
afterEach(async () => {
  await stopAgents();
  for (const daemon of daemons.splice(0)) await endExternalPm2(daemon);
});

async function startDaemon(root: string): Promise<ChildProcess> {
  const daemon = await startExternalPm2(root);
  daemons.push(daemon);
  return daemon;
}

describe('a PM2 daemon of its own unit', () => {
  const options = (root: string, firstPort?: number) => ({
    gpus: 2,
    root,
    config: { pm2: { mode: 'external' } },
    ...(firstPort === undefined ? {} : { firstPort }),
  });

  it('keeps the instances when the agent ends, and hands them to the next one', async () => {
    const root = await newRoot();
    await startDaemon(root);
    const first = await startAgent(options(root));
    await first.untilReady([0, 1]);
    const pids = await pidsOf(first);
    expect(await first.stop()).toBe(0);
    for (const pid of pids) expect(isAlive(pid)).toBe(true);
    expect(await first.cli('status')).toMatchObject({ code: 4 });

    const second = await startAgent(options(root, first.firstPort));
    await second.untilReady([0, 1]);
    expect(await pidsOf(second)).toEqual(pids);
    // It is seen and hosted as before.
    process.kill(pids[0] ?? -1, 'SIGKILL');
    const again = await untilInstance(second, 0, 'another process', ({ ready, pid }) => ready && pid !== pids[0]);
    expect(again.restarts).toMatchObject({ total: 1, lastReason: 'exit signal SIGKILL' });
  });

  it('that is not there yet makes instances unknown, never failed, and is taken up when it comes', async () => {
    const root = await newRoot();
    const agent = await startAgent(options(root));
    const hold = await untilHeld(agent, 'instance 0', 'UNKNOWN');
    expect(hold.reason).toMatch(/^its process could not be seen: .*PM2 daemon/);
    expect(await agent.instance(0)).toMatchObject({ status: 'unknown', ready: false, layers: { runtime: { status: 'unknown' } } });
    expect((await agent.get('/health')).status).toBe(200);
    expect((await agent.get('/health/comfyui/instances/0')).status).toBe(503);
    await startDaemon(root);
    await untilHealthy(agent);
  });

  it('that is killed leaves its instances serving, told as they are seen, and they are replaced once it is back', async () => {
    const root = await newRoot();
    const daemon = await startDaemon(root);
    const agent = await startAgent(options(root));
    await agent.untilReady([0, 1]);
    const pids = await pidsOf(agent);
    daemon.kill('SIGKILL');
    const hold = await untilHeld(agent, 'machine', 'PM2_GONE');
    expect(hold.help).toContain('systemctl restart comfylet-pm2');
    // Never a second process because PM2 could not be asked.
    expect(await pidsOf(agent)).toEqual(pids);
    for (const gpu of [0, 1]) expect((await agent.instance(gpu)).ready).toBe(true);
    await startDaemon(root);
    for (const gpu of [0, 1]) await untilInstance(agent, gpu, 'another process', ({ ready, pid }) => ready && pid !== pids[gpu]);
    await untilHealthy(agent);
    for (const pid of await pidsOf(agent)) expect(pids).not.toContain(pid);
  });
});

describe('an owned PM2 daemon', () => {
  it('that is killed is started again, and no process of an instance is there twice', async () => {
    const agent = await startAgent({ gpus: 2 });
    await agent.untilReady([0, 1]);
    const pids = await pidsOf(agent);
    const daemon = Number(await readFile(join(agent.root, 'state/pm2/pm2.pid'), 'utf8'));
    // With all that it hosted, as when the machine runs out of memory.
    for (const pid of [daemon, ...pids]) process.kill(pid ?? -1, 'SIGKILL');
    await eventually('another daemon', async () => {
      const next = Number(await readFile(join(agent.root, 'state/pm2/pm2.pid'), 'utf8'));
      return next !== daemon && isAlive(next);
    });
    await untilHealthy(agent);
    const now = await pidsOf(agent);
    expect(await instancesOf(agent)).toEqual([...now].sort());
    for (const pid of now) expect(pids).not.toContain(pid);
  });
});

/** Processes of this root that run main.py, as the kernel sees them. */
async function instancesOf({ root }: TestAgent): Promise<readonly number[]> {
  const found: number[] = [];
  for (const name of await readdir('/proc')) {
    if (!/^\d+$/.test(name)) continue;
    const command = await readFile(`/proc/${name}/cmdline`, 'utf8').catch(() => '');
    if (command.startsWith(root) && command.includes('main.py')) found.push(Number(name));
  }
  return found.sort();
}

describe('the environment of an instance', () => {
  const SECRETS = {
    AGENT_TOKEN: 'token-3f1c9a',
    HF_TOKEN: 'hf-77aa01',
    CIVITAI_TOKEN: 'civ-5b2e44',
    AWS_SECRET_ACCESS_KEY_ENCODED: 'aws-1d_SLASH_9c',
    DATABASE_PASSWORD: 'db-90ef12',
  };
  const VALUES = [...Object.values(SECRETS), 'aws-1d/9c'];

  it('holds what it needs and nothing of the agent', async () => {
    const agent = await startAgent({ gpus: 1, environment: { ...SECRETS, LC_ALL: 'C.UTF-8' } });
    await agent.untilReady([0]);
    const instance = await agent.instance(0);
    const environment = Object.fromEntries(
      (await readFile(`/proc/${instance.pid}/environ`, 'utf8')).split('\0').map((entry) => entry.split(/=(.*)/s) as [string, string]),
    );
    expect(environment).toMatchObject({
      CUDA_VISIBLE_DEVICES: '',
      AGENT_INSTANCE: 'comfyui-gpu0',
      LC_ALL: 'C.UTF-8',
      PYTHONUNBUFFERED: '1',
    });
    expect(environment['PATH']).toMatch(/^\S+\/venv\/bin:/);
    const foreign = Object.keys(environment).filter((name) => /^(pm_|PM2_|axm_|NODE_|npm_|UV_|PIP_)|TOKEN|SECRET|PASSWORD/.test(name));
    expect(foreign).toEqual([]);

    // Nor does any file below the root, any process, or any answer.
    const daemon = await readFile(join(agent.root, 'state/pm2/pm2.pid'), 'utf8');
    const texts = [
      ...Object.values(environment),
      await readFile(`/proc/${daemon}/environ`, 'utf8'),
      agent.output(),
      JSON.stringify(await healthOf(agent)),
      JSON.stringify((await agent.get('/v1/state')).body),
      (await agent.cli('config', 'show', '--json')).stdout,
      ...(await filesBelow(agent.root)),
    ].join('\n');
    expect(VALUES.filter((value) => texts.includes(value))).toEqual([]);
  });

  it('is open to whoever has the token only where something changes', async () => {
    const agent = await startAgent({ gpus: 1, environment: SECRETS });
    await agent.untilReady([0]);
    const change = (headers: Record<string, string>) =>
      agent.get('/v1/instances/0', {
        method: 'PATCH',
        headers: { 'content-type': 'application/json', ...headers },
        body: JSON.stringify({ cordoned: true }),
      });
    expect((await change({})).status).toBe(401);
    expect((await change({ authorization: 'Bearer wrong' })).status).toBe(401);
    expect((await agent.instance(0)).cordoned).toBe(false);
    expect((await change({ authorization: `Bearer ${SECRETS.AGENT_TOKEN}` })).status).toBe(200);
    expect((await agent.instance(0)).cordoned).toBe(true);
  });
});

async function filesBelow(directory: string): Promise<string[]> {
  const entries = await readdir(directory, { recursive: true, withFileTypes: true });
  return Promise.all(entries.filter((entry) => entry.isFile()).map((entry) => readFile(join(entry.parentPath, entry.name), 'latin1')));
}
