import { readFile, readlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import type { InstallationDocument } from '../../../src/domain/health/health.ts';
import { newRoot, startAgent, stopAgents, type TestAgent } from '../../support/agent/agent.ts';
import { editConfig, healthOf, pidsOf, replaceFile, untilHealthy, untilHeld } from '../../support/agent/scene.ts';
import { createSimulatorOrigin } from '../../support/comfyui/simulator-origin.ts';
import { eventually } from '../../support/eventually.ts';
import { createOrigin, type Origin } from '../../support/git/origin.ts';
import { closedPort } from '../../support/git/servers.ts';
import { findSshd, makeSshKey, type Sshd, startSshd } from '../../support/host/sshd.ts';

/** A repository that cannot be installed from is named with the cause, and the release in place goes on serving. */

const installationOf = async (agent: TestAgent) => (await agent.get('/health/comfyui/installation')).body as InstallationDocument;

describe('a bad repository beside a running release', () => {
  let agent: TestAgent;
  let wrong: Origin;
  let good: Origin;
  let pids: readonly (number | null)[];
  let release: string;
  let configuration: string;
  beforeAll(async () => {
    const origins = await newRoot();
    wrong = await createOrigin(join(origins, 'wrong'));
    await wrong.commit({ 'README.md': 'not ComfyUI' });
    good = await createSimulatorOrigin(join(origins, 'good'));
    agent = await startAgent({ gpus: 1 });
    await agent.untilReady([0]);
    pids = await pidsOf(agent);
    release = await readlink(join(agent.root, 'current'));
    configuration = await editConfig(agent.root, {});
  });
  afterEach(async () => {
    expect((await agent.get('/ready')).status).toBe(200);
    expect(await pidsOf(agent)).toEqual(pids);
    expect(await readlink(join(agent.root, 'current'))).toBe(release);
    await replaceFile(join(agent.root, 'agent.yaml'), configuration);
    await untilHealthy(agent);
  });
  afterAll(stopAgents);

  const install = async (comfyui: Record<string, unknown>, more: Record<string, unknown> = {}) => {
    await editConfig(agent.root, { comfyui, ...more });
    // What runs is not replaced without being asked.
    const hold = await untilHeld(agent, 'installation', 'INSTALLATION_DIFFERS');
    expect(hold.help).toContain('agent install');
    return agent.cli('install');
  };

  it.each([
    [
      'unreachable',
      'REPOSITORY_UNREACHABLE',
      async () => ({ repository: `http://127.0.0.1:${await closedPort()}/ComfyUI.git` }),
      /127\.0\.0\.1/,
    ],
    ['not there', 'REPOSITORY_NOT_FOUND', async () => ({ repository: 'file:///nonexistent/ComfyUI.git' }), /nonexistent/],
    ['not ComfyUI', 'NOT_COMFYUI', async () => ({ repository: wrong.url }), /has no main\.py/],
    ['without that branch', 'BRANCH_NOT_FOUND', async () => ({ repository: good.url, branch: 'no-such-branch' }), /no-such-branch/],
    [
      'without that commit',
      'COMMIT_NOT_FOUND',
      async () => ({ repository: good.url, commit: '0123456789abcdef0123456789abcdef01234567' }),
      /has no commit 0123456789/,
    ],
  ] as const)('that is %s gives %s', async (_, code, comfyui, message) => {
    const result = await install(await comfyui());
    expect(result.stderr).toMatch(new RegExp(`^error\\[${code}\\]: .*`, 'm'));
    expect(result.stderr).toMatch(message);
    expect(result.stderr).toMatch(/^help: \S/m);
    expect(result.code).toBe(1);
    expect(await installationOf(agent)).toMatchObject({ status: 'installed', ok: true, lastError: { code } });
    const status = await agent.cli('status');
    expect(status.code).toBe(0);
  });

  it('whose SSH host key is another one than known gives HOST_KEY_CHANGED', async ({ skip }) => {
    const found = await findSshd();
    if ('skipped' in found) return skip(found.skipped);
    const directory = await newRoot();
    const key = await makeSshKey(directory, 'client');
    const sshd: Sshd = await startSshd(found.path, join(directory, 'sshd'), `${key}.pub`);
    try {
      const other = await makeSshKey(directory, 'other');
      const [type, text] = (await readFile(`${other}.pub`, 'utf8')).split(' ');
      await writeFile(join(directory, 'known_hosts'), `[127.0.0.1]:${sshd.port} ${type} ${text}\n`);
      const result = await install(
        { repository: `ssh://${sshd.user}@127.0.0.1:${sshd.port}${good.directory}` },
        { ssh: { keyFile: key, knownHostsFile: join(directory, 'known_hosts') } },
      );
      expect(result.stderr).toContain('error[HOST_KEY_CHANGED]: ');
      expect(result.stderr).toMatch(/^help: .*ssh\.knownHostsFile/m);
      expect(result.code).toBe(1);
    } finally {
      await sshd.close();
    }
  });
});

describe('a bad repository on a bare root', () => {
  afterEach(stopAgents);

  it('is held with its cause, not tried without end, and heals with the configuration', async () => {
    const wrong = await createOrigin(join(await newRoot(), 'wrong'));
    await wrong.commit({ 'README.md': 'not ComfyUI' });
    const agent = await startAgent({ gpus: 1, config: { comfyui: { repository: wrong.url } } });
    const hold = await untilHeld(agent, 'installation', 'NOT_COMFYUI');
    expect(hold.reason).toMatch(/has no main\.py \(not tried again until the configuration changes or `agent install` is run\)/);
    expect((await agent.get('/health')).status).toBe(200);
    expect((await agent.get('/ready')).status).toBe(503);
    const installation = await agent.get('/health/comfyui/installation');
    expect(installation.status).toBe(503);
    expect(installation.body).toMatchObject({ status: 'broken', ok: false, lastError: { code: 'NOT_COMFYUI' } });
    expect((await agent.cli('status')).code).toBe(3);

    await editConfig(agent.root, { comfyui: { repository: 'simulator:' } });
    await untilHealthy(agent);
  });

  it('is replaced by the fallback when there is one, which is told as degraded', async () => {
    const fallback = await createSimulatorOrigin(join(await newRoot(), 'fallback'));
    const repository = `http://127.0.0.1:${await closedPort()}/ComfyUI.git`;
    const agent = await startAgent({ gpus: 1, config: { comfyui: { repository, fallbackRepository: fallback.url } } });
    await agent.untilReady([0]);
    const { status, reasons } = await healthOf(agent);
    expect(status).toBe('degraded');
    expect(reasons.join('\n')).toMatch(/the fallback repository is installed: .*127\.0\.0\.1/);
    expect(await installationOf(agent)).toMatchObject({
      status: 'degraded',
      ok: true,
      release: { repository: fallback.url, fallback: true },
    });
    // The first one being back is a matter for the operator: nothing is replaced by itself.
    await eventually('the plan is empty', async () => (await agent.json<{ actions: unknown[] }>('plan')).actions.length === 0);
  });
});
