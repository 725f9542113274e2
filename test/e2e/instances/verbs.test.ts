import { readFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import type { ModelsDocument } from '../../../src/domain/health/health.ts';
import type { DiscoveryDocument } from '../../../src/domain/instances/discovery.ts';
import { freePorts, newRoot, startAgent, stopAgents, type TestAgent } from '../../support/agent/agent.ts';
import { type ControlFile, controlFile, type Picture, startLongJob, untilPicture } from '../../support/agent/control-file.ts';
import { editConfig, healthOf, isAlive, pidsOf, untilHealthy, untilHeld, untilInstance } from '../../support/agent/scene.ts';
import { eventually } from '../../support/eventually.ts';

/** What operators and their files ask of instances: each wish is carried out without taking more away than it must. */

describe('cordon and drain', () => {
  let agent: TestAgent;
  let control: ControlFile;
  beforeAll(async () => {
    control = controlFile(await newRoot());
    agent = await startAgent({ gpus: 2, environment: control.environment, config: { health: { http: { periodMs: 300 } } } });
    await agent.untilReady([0, 1]);
  });
  afterEach(() => untilHealthy(agent));
  afterAll(stopAgents);

  /** A job that runs until the switch is taken back. */
  const occupy = async (): Promise<Picture> => {
    const picture = await startLongJob(control, (await agent.instance(0)).url);
    await untilInstance(agent, 0, 'busy', (instance) => instance.queue?.running === 1);
    return picture;
  };

  it('a cordon takes an instance out of discovery and nothing else', async () => {
    const { pid } = await agent.instance(0);
    expect(await agent.cli('cordon', '0')).toMatchObject({ code: 0 });
    expect(await agent.instance(0)).toMatchObject({ ready: false, cordoned: true, pid });
    expect((await agent.get('/health/comfyui/instances/0')).status).toBe(503);
    await eventually('workers are told', async () => {
      const { instances } = JSON.parse(await readFile(join(agent.root, 'run/instances.json'), 'utf8')) as DiscoveryDocument;
      const env = await readFile(join(agent.root, 'run/instances.env'), 'utf8');
      return instances.map((instance) => instance.ready).join() === 'false,true' && env.includes('COMFYUI_INSTANCES=1\n');
    });
    expect((await agent.get('/ready')).body).toMatchObject({ ready: true, capacity: '1/2' });
    expect(await agent.cli('uncordon', '0')).toMatchObject({ code: 0 });
    expect(await agent.instance(0)).toMatchObject({ ready: true, cordoned: false, pid, status: 'healthy' });
  });

  it('a drain waits for the running job, then stops', async () => {
    const picture = await occupy();
    const { pid } = await agent.instance(0);
    expect(await agent.cli('drain', '0', '--no-wait')).toMatchObject({ code: 0 });
    const hold = await untilHeld(agent, 'instance 0', 'DRAINING');
    expect(hold.reason).toBe('draining: 1 job left');
    expect(await agent.instance(0)).toMatchObject({ status: 'draining', ready: false, pid });
    await control.set({});
    await untilInstance(agent, 0, 'stopped', (instance) => instance.status === 'stopped');
    await untilPicture(agent.root, picture);
    expect(isAlive(pid)).toBe(false);
    expect(await agent.cli('start', '0')).toMatchObject({ code: 0 });
  });

  it('a drain can be taken back, as its hold says', async () => {
    const picture = await occupy();
    const { pid } = await agent.instance(0);
    await agent.cli('drain', '0', '--no-wait');
    const hold = await untilHeld(agent, 'instance 0', 'DRAINING');
    expect(hold.help).toContain('`agent uncordon 0` ends the drain');
    expect(await agent.cli('uncordon', '0')).toMatchObject({ code: 0 });
    expect(await agent.instance(0)).toMatchObject({ ready: true, pid });
    await control.set({});
    await untilPicture(agent.root, picture);
  });

  it('restart --drain waits for the running job, then replaces the process', async () => {
    const picture = await occupy();
    const { pid } = await agent.instance(0);
    const restart = agent.cli('restart', '0', '--drain');
    const hold = await untilHeld(agent, 'instance 0', 'DRAINING');
    expect(hold.reason).toBe('restart waits for 1 job');
    expect(await agent.instance(0)).toMatchObject({ pid, ready: false });
    await control.set({});
    expect(await restart).toMatchObject({ code: 0 });
    await untilPicture(agent.root, picture);
    expect(await agent.instance(0)).toMatchObject({ ready: true, restarts: { total: 0 } });
    expect((await agent.instance(0)).pid).not.toBe(pid);
  });

  it('a wish outlives the agent', async () => {
    expect(await agent.cli('cordon', '1')).toMatchObject({ code: 0 });
    await agent.kill();
    agent = await startAgent({
      gpus: 2,
      root: agent.root,
      firstPort: agent.firstPort,
      environment: control.environment,
      config: { health: { http: { periodMs: 300 } } },
    });
    await agent.untilReady([0]);
    await untilInstance(agent, 1, 'cordoned', ({ cordoned, status }) => cordoned && status === 'healthy');
    expect((await agent.instance(1)).ready).toBe(false);
    await agent.cli('uncordon', '1');
  });
});

describe('quarantine', () => {
  afterEach(stopAgents);

  it('ends a crash loop, names its cause, survives the agent, and is lifted by hand', async () => {
    const control = controlFile(await newRoot());
    const options = {
      gpus: 2,
      environment: control.environment,
      config: { health: { maxRestartsInWindow: 2 }, pm2: { restartDelayMs: 50 } },
    };
    const first = await startAgent(options);
    await first.untilReady([0, 1]);
    const other = (await first.instance(1)).pid;
    await control.set({ exit_at_startup: 3 });
    process.kill((await first.instance(0)).pid ?? -1, 'SIGKILL');
    const hold = await untilHeld(first, 'instance 0', 'QUARANTINED');
    expect(hold.reason).toMatch(/^ended 3 times in 10 minutes, last: exit code 3 \(last line: .*\); it is tried again at 20/);
    expect(hold.help).toContain('agent unquarantine 0');
    await untilInstance(first, 0, 'quarantined', ({ status, pid }) => status === 'quarantined' && pid === null);
    expect((await first.instance(1)).pid).toBe(other);
    expect((await first.cli('status')).stdout).toContain('quarantined');
    await first.kill();

    const agent = await startAgent({ ...options, root: first.root, firstPort: first.firstPort });
    await untilInstance(agent, 0, 'still quarantined', ({ status, pid }) => status === 'quarantined' && pid === null);
    await agent.untilReady([1]);
    await control.set({});
    expect(await agent.cli('unquarantine', '0')).toMatchObject({ code: 0 });
    await agent.untilReady([0]);
    expect((await agent.instance(1)).pid).toBe(other);
  });
});

describe('what the configuration asks for', () => {
  afterEach(stopAgents);

  it('reaches the instances one at a time', async () => {
    const agent = await startAgent({ gpus: 3 });
    await agent.untilReady([0, 1, 2]);
    const before = await pidsOf(agent);
    await editConfig(agent.root, { comfyui: { environment: { ROLLED: 'yes' } } });
    let fewest = 3;
    await eventually(
      'all run with the new settings',
      async () => {
        const { instances, capacity } = await healthOf(agent);
        fewest = Math.min(fewest, Number(capacity.split('/')[0]));
        return instances.every((instance, index) => instance.ready && instance.pid !== before[index]);
      },
      18_000,
    );
    expect(fewest).toBe(2);
    for (const pid of await pidsOf(agent)) expect(await readFile(`/proc/${pid}/environ`, 'utf8')).toContain('ROLLED=yes\0');
    // Asked for, so nobody's fault.
    for (const instance of (await healthOf(agent)).instances) expect(instance.restarts.total).toBe(0);
  });

  it('about models is told as degraded when a file is missing, and jobs go on', async () => {
    const agent = await startAgent({
      gpus: 1,
      files: { 'shared/models/loras/there.safetensors': 'weights' },
      config: { models: { required: ['loras/there.safetensors', 'checkpoints/gone.safetensors'] } },
    });
    await agent.untilReady([0]);
    const models = await agent.get('/health/comfyui/models');
    expect(models.status).toBe(503);
    const { missing, present, required } = models.body as ModelsDocument;
    expect({ required, present: present.map(({ path }) => path) }).toEqual({ required: 2, present: ['loras/there.safetensors'] });
    expect(missing).toMatchObject([{ path: 'checkpoints/gone.safetensors', requiredBy: ['models.required'] }]);
    const instance = await untilInstance(agent, 0, 'degraded', ({ status }) => status === 'degraded');
    expect(instance).toMatchObject({ ready: true, layers: { models: { status: 'fail' } } });
    expect(instance.layers.models.reason).toContain('checkpoints/gone.safetensors is missing (asked for by models.required)');
    const health = await agent.get('/health/comfyui');
    expect(health.status).toBe(200);
    expect(health.body).toMatchObject({ status: 'degraded', ready: true });
    expect((await agent.cli('health')).code).toBe(0);
    expect((await agent.cli('health', 'models')).code).toBe(3);
  });

  it('about ports is kept: leases outlive the agent and who sat on a port', async () => {
    const firstPort = await freePorts(20);
    const stranger = createServer().listen(firstPort, '127.0.0.1');
    const options = { gpus: 2, firstPort, config: { ports: { first: firstPort, onConflict: 'next' } } };
    const first = await startAgent(options);
    await first.untilReady([0, 1]);
    const ports = (await healthOf(first)).instances.map((instance) => instance.port);
    expect(ports[0]).not.toBe(firstPort);
    expect(await first.stop()).toBe(0);
    await new Promise((done) => stranger.close(done));
    const second = await startAgent({ ...options, root: first.root });
    await second.untilReady([0, 1]);
    expect((await healthOf(second)).instances.map((instance) => instance.port)).toEqual(ports);
  });
});
