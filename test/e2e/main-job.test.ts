import { readFile, readlink } from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, describe, expect, it } from 'vitest';
import { StatusDocument } from '../../src/domain/agent.ts';
import { HealthDocument, InstallationDocument } from '../../src/domain/health/health.ts';
import { Release } from '../../src/domain/installation/release.ts';
import { DiscoveryDocument } from '../../src/domain/instances/discovery.ts';
import { InstanceDocument } from '../../src/domain/instances/instance.ts';
import { startAgent, stopAgents } from '../support/agent/agent.ts';
import { eventually } from '../support/eventually.ts';

const isAlive = (pid: number): boolean => {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
};

afterEach(stopAgents);

describe('from a bare root to healthy instances', () => {
  it('installs, starts, proves, tells, heals, and leaves nothing behind', async () => {
    const agent = await startAgent({ gpus: 2 });

    // The truth from the first second: alive, not ready, and why.
    const early = await agent.get('/health/comfyui/instances/0');
    expect([200, 503]).toContain(early.status);
    expect((await agent.get('/health')).status).toBe(200);

    await agent.untilReady([0, 1]);
    const first = InstanceDocument.parse((await agent.get('/health/comfyui/instances/0')).body);
    const second = InstanceDocument.parse((await agent.get('/health/comfyui/instances/1')).body);
    expect(first).toMatchObject({ status: 'healthy', ready: true, port: agent.firstPort, uuid: null });
    expect(second).toMatchObject({ status: 'healthy', ready: true, port: agent.firstPort + 1 });
    expect((await agent.get('/ready')).status).toBe(200);
    expect((await agent.get('/health/comfyui/instances/7')).status).toBe(404);
    const health = HealthDocument.parse((await agent.get('/health/comfyui')).body);
    expect(health).toMatchObject({ status: 'healthy', capacity: '2/2', holds: [] });

    // The release, as design section 4 has it.
    const installation = InstallationDocument.parse((await agent.get('/health/comfyui/installation')).body);
    expect(installation).toMatchObject({ status: 'installed', ok: true, progress: 1 });
    const target = await readlink(join(agent.root, 'current'));
    const release = Release.parse(JSON.parse(await readFile(join(target, 'release.json'), 'utf8')));
    expect(release.validated?.protocol).toBe('fork');
    expect(release.id).toBe(first.release);
    expect(await readFile(join(agent.root, 'ComfyUI/main.py'), 'utf8')).toContain('import');

    // What workers are told is where the instances are.
    const discovery = DiscoveryDocument.parse(JSON.parse(await readFile(join(agent.root, 'run/instances.json'), 'utf8')));
    expect(discovery.instances.map(({ gpu, ready, port, protocol }) => ({ gpu, ready, port, protocol }))).toEqual([
      { gpu: 0, ready: true, port: agent.firstPort, protocol: 'fork' },
      { gpu: 1, ready: true, port: agent.firstPort + 1, protocol: 'fork' },
    ]);
    const listed = `COMFYUI_INSTANCES=0,1\nCOMFYUI_GPU0_HOST=127.0.0.1\nCOMFYUI_GPU0_PORT=${agent.firstPort}\n`;
    await eventually('both are listed', async () => (await readFile(join(agent.root, 'run/instances.env'), 'utf8')).includes(listed));

    // Killed: not ready at once, then another incarnation serves.
    process.kill(first.pid ?? -1, 'SIGKILL');
    await eventually('instance 0 is not ready', async () => (await agent.get('/health/comfyui/instances/0')).status === 503);
    await agent.untilReady([0]);
    const again = await agent.instance(0);
    expect(again.pid).not.toBe(first.pid);
    expect(again.restarts).toMatchObject({ total: 1, lastReason: 'exit signal SIGKILL' });
    expect((await agent.instance(1)).pid).toBe(second.pid);

    // Stopped by hand stays stopped; started by hand comes back.
    expect((await agent.cli('stop', '1')).code).toBe(0);
    expect(await agent.instance(1)).toMatchObject({ status: 'stopped', ready: false, pid: null });
    expect(isAlive(second.pid ?? 0)).toBe(false);
    expect((await agent.cli('start', '1')).code).toBe(0);
    expect(await agent.instance(1)).toMatchObject({ status: 'healthy', ready: true });

    // Restarted by hand: another process, the same port, no unwanted end counted.
    const before = await agent.instance(1);
    expect((await agent.cli('restart', '1')).code).toBe(0);
    const after = await agent.instance(1);
    expect(after.pid).not.toBe(before.pid);
    expect(after).toMatchObject({ port: before.port, ready: true, restarts: { total: 0 } });

    // Nothing to do is recognised and changes nothing.
    const install = await agent.cli('install');
    expect(install.code).toBe(0);
    expect(install.stdout + install.stderr).toContain('already right');
    expect(await readlink(join(agent.root, 'current'))).toBe(target);

    const status = await agent.cli('status');
    expect(status.code).toBe(0);
    expect(status.stdout).toContain('2/2');

    const pids = [(await agent.instance(0)).pid, (await agent.instance(1)).pid];
    expect(await agent.stop()).toBe(0);
    for (const pid of pids) expect(isAlive(pid ?? 0)).toBe(false);
    const last = await agent.cli('status', '--json');
    expect(last.code).toBe(4);
    expect(StatusDocument.parse(JSON.parse(last.stdout)).agent.running).toBe(false);
  });

  it('keeps instances running over a restart of the agent when PM2 is not its own', async () => {
    const agent = await startAgent({ gpus: 1 });
    await agent.untilReady([0]);
    const before = await agent.instance(0);
    await agent.kill();
    // The PM2 daemon of a killed agent is still there; the next agent takes it over.
    const next = await startAgent({ gpus: 1, root: agent.root, firstPort: agent.firstPort });
    await next.untilReady([0]);
    expect((await next.instance(0)).pid).toBe(before.pid);
  });
});
