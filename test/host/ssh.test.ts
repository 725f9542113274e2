import { readFile } from 'node:fs/promises';
import { stripVTControlCharacters } from 'node:util';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { StatusDocument } from '../../src/domain/agent.ts';
import { AGENT_GROUP } from '../../src/domain/configuration/access.ts';
import { freePorts } from '../support/agent/agent.ts';
import { eventually } from '../support/eventually.ts';
import { noSshHost, type Running, type SshHost, start, startSshHost } from '../support/host/ssh-host.ts';
import { startTcpProxy } from '../support/tcp-proxy.ts';

/** Commands over a real ssh, from plain accounts, on a host with users and groups of its own. */

const skipped = noSshHost();
if (skipped !== null) console.log(`ssh tests are skipped: ${skipped}`);

const ROOT = '/srv/workspace';
let host: SshHost;
let agent: Running;

const asAgent = (command: string): string =>
  `exec setpriv --reuid comfylet --regid comfylet --init-groups env -i PATH=/usr/local/bin:/usr/bin:/bin HOME=/var/lib/comfylet LANG=C.UTF-8 SIM_STARTUP_MS=4000 ${command}`;
/** As its unit starts it. */
const SERVICE = 'AGENT_RUN_DIR=/run/comfylet AGENT_STATE_DIR=/var/lib/comfylet agent run';

async function startAgent(): Promise<void> {
  agent = host.startInside(asAgent(SERVICE));
  await eventually('the agent listens', () => {
    if (agent.child.exitCode !== null) throw new Error(agent.output());
    return agent.output().includes('serving http');
  });
}

async function stopAgent(): Promise<void> {
  const { stdout } = await host.inside('sed -n \'s/.*"pid":\\([0-9]*\\).*/\\1/p\' /run/comfylet/agent.json');
  await host.inside(`kill -TERM ${stdout.trim()}`);
  await agent.finished;
}

const status = async (): Promise<StatusDocument> =>
  JSON.parse((await host.ssh('ada', 'agent status --json').finished).stdout) as StatusDocument;
const healthy = () =>
  eventually(
    'the agent is healthy',
    async () => {
      const document = await status();
      if (document.health.status !== 'healthy' || document.operations.length > 0)
        throw new Error(JSON.stringify(document.health.reasons ?? document.health.status));
      return true;
    },
    60_000,
  );

describe.skipIf(skipped !== null)('over ssh', () => {
  beforeAll(async () => {
    host = await startSshHost([
      { name: 'comfylet', uid: 7001 },
      { name: 'ada', uid: 7002, groups: [AGENT_GROUP] },
      { name: 'bob', uid: 7003 },
    ]);
    const configuration = {
      root: ROOT,
      gpu: { mode: 'mock', mockCount: 1 },
      comfyui: { repository: 'simulator:' },
      ports: { first: await freePorts(1) },
      api: { port: 0 },
    };
    const { code, stderr } = await host.inside(
      [
        'set -e',
        'install -d -m 0750 -o root -g comfylet /etc/comfylet',
        `echo '${JSON.stringify(configuration)}' > /etc/comfylet/agent.yaml`,
        'chown root:comfylet /etc/comfylet/agent.yaml; chmod 0640 /etc/comfylet/agent.yaml',
        `install -d -m 0775 -o comfylet -g comfylet ${ROOT}`,
        'install -d -m 0750 -o comfylet -g comfylet /var/lib/comfylet /run/comfylet',
      ].join('\n'),
    );
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
    await startAgent();
    await healthy();
  });
  afterAll(async () => {
    await host?.close();
  });

  it('the socket is for the group, in a directory for the group', async () => {
    const { stdout } = await host.inside('stat -c "%a %U %G" /run/comfylet /run/comfylet/agent.sock /var/lib/comfylet');
    expect(stdout).toBe('750 comfylet comfylet\n660 comfylet comfylet\n700 comfylet comfylet\n');
  });

  it('a plain account of the group uses the agent, without a variable and without a terminal', async () => {
    const seen = await host.ssh('ada', 'agent status').finished;
    expect(seen).toMatchObject({ code: 0, stderr: '' });
    expect(seen.stdout).toContain('1/1 ready');
    const before = (await status()).health.instances[0]?.pid;
    const restarted = await host.ssh('ada', 'agent restart 0').finished;
    expect(restarted.code).toBe(0);
    expect(restarted.stdout).toMatch(/^gpu 0 /);
    const after = (await status()).health.instances[0]?.pid;
    expect(after).toBeGreaterThan(0);
    expect(after).not.toBe(before);
    const installed = await host.ssh('ada', 'agent install').finished;
    expect(installed.code).toBe(0);
    expect((await host.ssh('ada', 'agent __complete gpus').finished).stdout).toBe('0\n');
  });

  it('an account outside the group is told the group, and what to do', async () => {
    for (const verb of ['status', 'restart 0', 'install', 'logs -f', 'status --root /srv/workspace']) {
      const { code, stdout, stderr } = await host.ssh('bob', `agent ${verb}`).finished;
      expect({ verb, code, stdout }).toEqual({ verb, code: 1, stdout: '' });
      expect(stderr).toMatch(/^error\[FORBIDDEN\]: bob may not use the agent: no member of group comfylet$/m);
      expect(stderr).toMatch(/^help: `sudo usermod -aG comfylet bob`, then log in again; or use sudo$/m);
    }
    const { stdout } = await host.ssh('bob', 'agent status --json').finished;
    expect(JSON.parse(stdout)).toMatchObject({ error: { code: 'FORBIDDEN', details: { group: 'comfylet', account: 'bob' } } });
  });

  it('Ctrl-C detaches and says so; the operation goes on, and the next call attaches to it', async () => {
    const first = host.ssh('ada', 'agent reinstall', { tty: true });
    await eventually('it has begun', async () => (await status()).operations.length === 1);
    await eventually('progress is shown', () => first.output().length > 0);
    first.child.stdin?.write('\x03');
    const ended = await first.finished;
    expect(ended.code).toBe(130);
    const said = stripVTControlCharacters(ended.stdout);
    expect(said).toContain('error[INTERRUPTED]: detached');
    expect(said).toContain('`agent reinstall` attaches again');
    expect((await status()).operations).toHaveLength(1);
    const second = await host.ssh('ada', 'agent install').finished;
    expect(second.code).toBe(0);
    expect(second.stderr).toContain('following it');
    await healthy();
  });

  it('a connection that is cut ends the display, not the operation; the next call attaches to it', async () => {
    const proxy = await startTcpProxy(host.port);
    const options = host.sshOptions.map((option) => (option === String(host.port) ? String(proxy.port) : option));
    const cut = start('ssh', [...options, '-o', `HostKeyAlias=[127.0.0.1]:${host.port}`, '-T', 'ada@127.0.0.1', 'agent reinstall']);
    await eventually('it has begun', async () => {
      if (cut.child.exitCode !== null) throw new Error(cut.output());
      return (await status()).operations.length === 1;
    });
    const [operation] = (await status()).operations;
    await proxy.close();
    expect((await cut.finished).code).toBe(255);
    const running = async () =>
      (await host.processes()).filter((line) => line.includes('agent.cjs reinstall') || line.includes('agent reinstall'));
    await eventually('no command is left', async () => (await running()).length === 0, 20_000);
    expect((await status()).operations).toMatchObject([{ id: operation?.id ?? '', state: 'running' }]);
    const second = await host.ssh('ada', 'agent install').finished;
    expect(second.code).toBe(0);
    expect(second.stderr).toContain('following it');
    await healthy();
  });

  it('logs -f follows, and ends with its connection, also while no line comes', async () => {
    const following = host.ssh('ada', 'agent logs agent -f -n 5');
    await eventually('lines come', () => following.output().split('\n').length > 3);
    const running = async () => (await host.processes()).filter((line) => line.includes('logs agent -f'));
    expect((await running()).length).toBeGreaterThan(0);
    following.child.kill('SIGKILL');
    await following.finished;
    await eventually('no command is left', async () => (await running()).length === 0, 20_000);
    // One that has its input closed from the start is not taken for a cut one.
    const silent = host.ssh('ada', 'agent logs agent -f -n 1 < /dev/null');
    silent.child.stdin?.end();
    await eventually('it follows', () => silent.output() !== '');
    const { finished } = host.ssh('ada', 'agent restart 0');
    const lines = silent.output().length;
    await finished;
    await eventually('it still follows', () => silent.output().length > lines);
    silent.child.kill('SIGKILL');
    await silent.finished;
  });

  it('nothing of the agent belongs to anybody else', async () => {
    const { stdout } = await host.inside(`find ${ROOT} /var/lib/comfylet /run/comfylet -not -user comfylet | head`);
    expect(stdout).toBe('');
  });

  it('without an agent, a plain account works on nothing that is not its own', async () => {
    await stopAgent();
    const { code, stderr } = await host.ssh('ada', 'agent install').finished;
    expect(code).toBe(4);
    expect(stderr).toMatch(
      /^error\[AGENT_NOT_RUNNING\]: no agent is running on \/srv\/workspace, and what ada makes there without it would have the wrong owner$/m,
    );
    expect(stderr).toMatch(/^help: .*systemctl start comfylet.*sudo -u comfylet/m);
    expect((await host.inside('agent reinstall')).stderr).toContain('what root makes there');
    expect((await host.ssh('ada', 'agent status').finished).code).toBe(4);
    expect((await host.ssh('ada', 'agent restart 0').finished).code).toBe(4);
    expect((await host.inside(`find ${ROOT} /var/lib/comfylet -not -user comfylet | head`)).stdout).toBe('');
    await startAgent();
    await healthy();
  });

  it('leaves nothing on the machine', async () => {
    expect(await readFile('/etc/passwd', 'utf8')).not.toMatch(/^ada:/m);
    expect(await readFile('/proc/self/mounts', 'utf8')).not.toContain(host.work);
  });
});
