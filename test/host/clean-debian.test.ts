import { readFileSync } from 'node:fs';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import type { StatusDocument } from '../../src/domain/agent.ts';
import { eventually } from '../support/eventually.ts';
import { aCleanDebian, type CleanDebian, PACKAGES, PLACE, whyNoDebian } from '../support/systemd/clean-debian.ts';

/** From Debian's smallest installation to a machine that serves, by nothing but the binary and what it says; and back. */

const why = whyNoDebian();
if (why !== null) console.log(`skipped: there is no clean Debian to be had: ${why}`);

const SECRETS = 'COMFYUI_REPO=simulator:\nMOCK_GPU=1\nNUM_GPUS=2\nSIM_STARTUP_MS=200\n';
/** For set-up too: it looks for the repository that the configuration names. */
const SIMULATOR = { COMFYUI_REPO: 'simulator:', MOCK_GPU: '1' };
const LIMIT_MS = 60_000;

describe.skipIf(why !== null)('a clean Debian', { timeout: 300_000 }, () => {
  let machine: CleanDebian;
  /** What install.sh says is missing. */
  let packages: string[] = [];
  let readyPids: readonly (number | null)[] = [];
  const pidsOf = async (): Promise<readonly (number | null)[]> => (await machine.instances()).map(({ pid }) => pid);
  const timed = async <T>(what: string, work: () => Promise<T>): Promise<T> => {
    const began = performance.now();
    const result = await work();
    console.log(`${what}: ${((performance.now() - began) / 1_000).toFixed(1)} s`);
    return result;
  };
  beforeAll(async () => {
    machine = await aCleanDebian();
    await timed('boot of the bare root', () => machine.boot());
  });
  afterAll(() => machine?.close());
  beforeEach(async () => {
    readyPids = await pidsOf().catch(() => []);
  });

  it('has no Node.js and nothing of this repository, and its control groups are of version 2 alone', async () => {
    const { stdout } = await machine.run(['find', '/', '-xdev', '(', '-name', 'node*', '-o', '-name', 'npm*', '-o', '-name', '*.ts', ')']);
    expect(stdout).toBe('');
    expect(await machine.must('stat', '-f', '-c', '%T', '/sys/fs/cgroup')).toBe('cgroup2fs\n');
    expect((await machine.run(['findmnt', '-n', '-t', 'cgroup'])).stdout).toBe('');
  });

  it('install.sh, which the binary prints, names all that is missing in one line and changes nothing', async () => {
    await machine.must('sh', '-c', `cd ${PLACE} && ./agent setup --print >install.sh`);
    const { code, stdout, stderr } = await machine.install([]);
    expect({ code, stdout }).toEqual({ code: 5, stdout: '' });
    packages = /^help: .*apt-get install --no-install-recommends ([a-z0-9. +-]+)\)/m.exec(stderr)?.[1]?.split(' ') ?? [];
    expect(packages).toEqual(PACKAGES);
    expect((await machine.run(['getent', 'passwd', 'comfyui'])).code).toBe(2);
    expect((await machine.run(['ls', '/usr/local/bin/agent', '/workspace', '/etc/comfylet'])).stdout).toBe('');
  });

  it('with these packages and no others it sets the machine up, and both instances become healthy', async () => {
    await timed('packages', () => machine.addPackages(packages));
    await machine.write('/etc/comfylet/agent.env', SECRETS, 0o600);
    await timed('install.sh to ready', async () => {
      const { code, stderr } = await machine.install([], SIMULATOR);
      expect({ code, stderr }).toMatchObject({ code: 0 });
      await machine.untilReady(2);
    });
    expect((await machine.must('systemctl', 'list-units', '--failed', '--plain', '--no-legend', 'comfy-*')).trim()).toBe('');
    const programs = await machine.must('sh', '-c', 'readlink /proc/[0-9]*/exe | sort -u');
    expect(programs).toContain('/usr/local/bin/agent\n');
    expect(programs).not.toMatch(/node$/m);
    // The unit spares the agent to start itself a second time for its flags.
    const pid = await machine.mainPid('comfylet');
    expect(await machine.must('cat', `/proc/${pid}/cmdline`)).toBe('/usr/local/bin/agent\0run\0');
  });

  it('agent status and agent doctor have nothing to complain of', async () => {
    const status = JSON.parse(await machine.must('agent', 'status', '--json')) as StatusDocument;
    expect(status).toMatchObject({ agent: { running: true } });
    expect(await machine.must('agent', 'status')).toContain('healthy');
    const { stdout } = await machine.run(['agent', 'doctor']);
    expect(stdout).not.toMatch(/^(fail|warn)/m);
  });

  it('a killed agent and a restarted one come back to the same instances', async () => {
    for (const end of [
      async (pid: number) => machine.must('kill', '-KILL', String(pid)),
      async () => machine.must('systemctl', 'restart', 'comfylet'),
    ]) {
      const before = await machine.mainPid('comfylet');
      await end(before);
      await eventually(
        'another agent serves',
        async () => {
          const state = await machine.property('comfylet', 'ActiveState');
          return state === 'active' && (await machine.mainPid('comfylet')) !== before;
        },
        LIMIT_MS,
      );
      await machine.untilReady(2);
      expect(await pidsOf()).toEqual(readyPids);
    }
  });

  it('after a reboot everything is there again, from the same release', async () => {
    const [first] = await machine.instances();
    await machine.powerOff();
    await timed('boot to ready', async () => {
      await machine.boot();
      await machine.untilReady(2);
    });
    expect((await machine.instances()).map(({ release }) => release)).toEqual([first?.release, first?.release]);
  });

  it('install.sh uninstall takes it away, and leaves what was made', async () => {
    await machine.write('/workspace/shared/models/checkpoints/one.safetensors', 'a model');
    expect(await machine.install(['uninstall'])).toMatchObject({ code: 0, stdout: expect.stringContaining('/workspace/shared/models') });
    for (const user of ['comfyui', 'comfylet']) expect((await machine.run(['getent', 'passwd', user])).code).toBe(2);
    expect((await machine.run(['ls', '/usr/local/bin/agent', '/etc/systemd/system/comfylet.service'])).stdout).toBe('');
    expect((await machine.run(['pgrep', '-f', 'main.py|__pm2-daemon'])).stdout).toBe('');
    expect(readFileSync(machine.at('/workspace/shared/models/checkpoints/one.safetensors'), 'utf8')).toBe('a model');
  });
});
