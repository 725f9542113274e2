import { chmod, mkdtemp, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { stripVTControlCharacters } from 'node:util';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { DeployDocument } from '../../src/domain/host/deploy.ts';
import { AGENT, baseEnvironment } from '../support/agent/agent.ts';
import { type Finished, noSshHost, type SshHost, start, startSshHost } from '../support/host/ssh-host.ts';

/** `agent deploy` to hosts with a real sshd, each in namespaces of its own. Set-up itself has tests of its own; here a stand-in records it. */

const skipped = noSshHost();
if (skipped !== null) console.log(`deploy tests are skipped: ${skipped}`);

const SECRET = 'AGENT_TOKEN=hunter2-hunter2';
let one: SshHost;
let two: SshHost;
let directory = '';

/** A program that does what is seen of the real one. */
const standIn = (wait = 'true'): string => `#!/bin/sh
echo "$*" >> /srv/calls
case $1 in
  --version) echo comfylet 9.9.9 ;;
  setup) cat /proc/[0-9]*/cmdline | tr '\\0' ' ' >> /srv/seen; stat -c '%a %U' /etc/comfylet/agent.env >> /srv/modes 2>&1
    install -m 0755 "$0" /usr/local/bin/agent.new && mv -f /usr/local/bin/agent.new /usr/local/bin/agent; echo 'unit started' ;;
  wait) ${wait} ;;
esac
`;

const run = async (...args: string[]): Promise<Finished> => {
  const program = process.env['AGENT_BINARY'];
  const environment = Object.entries({ ...baseEnvironment(), HOME: directory }).map(([name, value]) => `${name}=${value}`);
  const files = ['--binary', join(directory, 'agent'), '--ssh-config', join(directory, 'ssh_config')];
  return start('env', [
    '-i',
    ...environment,
    ...(program === undefined ? [process.execPath, AGENT] : [program]),
    'deploy',
    ...args,
    ...files,
  ]).finished;
};
const calls = async (host: SshHost): Promise<string[]> =>
  (await host.inside('cat /srv/calls 2>/dev/null; true')).stdout.split('\n').filter((line) => line !== '');

describe.skipIf(skipped !== null)('agent deploy', () => {
  beforeAll(async () => {
    directory = await mkdtemp(join(tmpdir(), 'agent-deploy-test-'));
    [one, two] = await Promise.all([startSshHost([{ name: 'ada', uid: 7002 }]), startSshHost([])]);
    const entry = (name: string, host: SshHost, knownHosts: string, user = 'root') =>
      `Host ${name}\n  HostName 127.0.0.1\n  Port ${host.port}\n  User ${user}\n  IdentityFile ${host.work}/key\n  IdentitiesOnly yes\n  UserKnownHostsFile ${knownHosts}\n  GlobalKnownHostsFile /dev/null\n`;
    const known = (host: SshHost) => `${host.work}/known_hosts`;
    const changed = join(directory, 'changed');
    await writeFile(changed, (await readFile(known(two), 'utf8')).replace(String(two.port), String(one.port)));
    await writeFile(
      join(directory, 'ssh_config'),
      [
        entry('one', one, known(one)),
        entry('two', two, known(two)),
        entry('plain', one, known(one), 'ada'),
        entry('changed', one, changed),
        entry('unknown', one, '/dev/null'),
        'Host away\n  HostName 127.0.0.1\n  Port 1\n',
      ].join('\n'),
    );
    await writeFile(join(directory, 'agent.yaml'), 'root: /srv/workspace\n');
    await writeFile(join(directory, 'agent.env'), `${SECRET}\n`);
  });
  beforeEach(async () => {
    await writeFile(join(directory, 'agent'), standIn());
    await chmod(join(directory, 'agent'), 0o755);
    for (const host of [one, two])
      await host.inside('rm -rf /srv/calls /srv/seen /srv/modes /etc/comfylet; echo old > /usr/local/bin/agent');
  });
  afterAll(async () => {
    await Promise.all([one?.close(), two?.close()]);
    await rm(directory, { recursive: true, force: true });
  });

  it('puts program, configuration and secrets on several hosts, and sets them up', async () => {
    const config = join(directory, 'agent.yaml');
    const { code, stdout, stderr } = await run(
      'one',
      'two',
      '--config',
      config,
      '--secrets',
      join(directory, 'agent.env'),
      '--provider',
      'lambda',
    );
    expect(stderr).toMatch(/^one {2}setup {4}/m);
    expect(stdout).toMatch(/^HOST {2}RESULT {3,}TIME\none {3}\S healthy +\d+s\ntwo {3}\S healthy +\d+s\n/);
    expect(code).toBe(0);
    for (const host of [one, two]) {
      expect(await calls(host)).toEqual(['--version', 'setup --yes --root /home/ubuntu/comfyui', 'wait healthy --timeout 1800s']);
      const { stdout: there } = await host.inside(
        'cat /etc/comfylet/agent.yaml /etc/comfylet/agent.env; ls -A /etc/comfylet /var/tmp; stat -c %a /etc/comfylet; cat /srv/modes',
      );
      expect(there).toBe(`root: /srv/workspace\n${SECRET}\n/etc/comfylet:\nagent.env\nagent.yaml\n\n/var/tmp:\n750\n600 root\n`);
      expect((await host.inside('cat /srv/seen')).stdout).not.toContain('hunter2');
    }
    expect(`${stdout}${stderr}`).not.toContain('hunter2');
  });

  it('copies nothing that is there already', async () => {
    await run('one');
    await one.inside('rm /srv/calls');
    expect((await run('one')).code).toBe(0);
    expect(await calls(one)).toEqual(['setup --yes', 'wait healthy --timeout 1800s']);
  });

  it('--dry-run looks, and changes nothing', async () => {
    const { code, stdout } = await run('one', '--dry-run', '--secrets', join(directory, 'agent.env'));
    expect(code).toBe(0);
    expect(stdout).toContain('  copy the program to /usr/local/bin/agent\n  write /etc/comfylet/agent.env\n  agent setup --yes\n');
    expect((await one.inside('cat /usr/local/bin/agent; ls -d /etc/comfylet /srv/calls; ls -A /var/tmp')).stdout).toBe('old\n');
  });

  it('one host that fails stops no other, and says why', async () => {
    const { code, stdout } = await run('changed', 'unknown', 'away', 'plain', 'two', '--json');
    expect(code).toBe(1);
    const { ok, hosts } = DeployDocument.parse(JSON.parse(stdout));
    expect(ok).toBe(false);
    expect(hosts.map(({ host, step, error }) => [host, step, error?.code ?? null])).toEqual([
      ['changed', 'failed', 'HOST_KEY_CHANGED'],
      ['unknown', 'failed', 'HOST_KEY_UNKNOWN'],
      ['away', 'failed', 'SSH_FAILED'],
      ['plain', 'failed', 'FORBIDDEN'],
      ['two', 'done', null],
    ]);
    expect(hosts[0]?.message).toContain('nothing was sent');
    expect(hosts[0]?.error?.help).toContain('somebody may be intercepting');
    expect(await calls(one)).toEqual([]);
    const text = await run('changed');
    expect(text.code).toBe(1);
    expect(stripVTControlCharacters(text.stdout)).toMatch(/help \(changed\): somebody may be intercepting/);
  });

  it('tells the error that the other side told, and leaves the old program where the new one does not run', async () => {
    await writeFile(
      join(directory, 'agent'),
      standIn("{ echo 'error[TIMED_OUT]: not done within 30m: starting'; echo 'help: wait longer'; exit 6; } >&2"),
    );
    const failed = DeployDocument.parse(JSON.parse((await run('one', '--json')).stdout)).hosts[0];
    expect(failed).toMatchObject({
      step: 'failed',
      error: { code: 'TIMED_OUT', message: 'not done within 30m: starting', help: 'on one: wait longer' },
    });
    await one.inside('echo old > /usr/local/bin/agent; rm /srv/calls');
    await writeFile(join(directory, 'agent'), 'truncated');
    const broken = DeployDocument.parse(JSON.parse((await run('one', '--json')).stdout)).hosts[0];
    expect(broken).toMatchObject({ step: 'failed', error: { code: 'COMMAND_FAILED' } });
    expect((await one.inside('cat /usr/local/bin/agent; ls -A /var/tmp; ls /etc/comfylet 2>/dev/null')).stdout).toBe('old\n');
  });

  it('refuses what is no host, no provider and no file', async () => {
    expect((await run('-oProxyCommand=x')).code).toBe(2);
    expect(await run('one', 'a;b')).toMatchObject({ code: 2, stderr: expect.stringContaining('"a;b" is no host') });
    expect(await run('one', '--provider', 'lamda')).toMatchObject({
      code: 2,
      stderr: expect.stringContaining('possible: lambda, datacrunch'),
    });
    expect(await run('one', '--secrets', '/nonexistent')).toMatchObject({
      code: 2,
      stderr: expect.stringContaining('/nonexistent is not there'),
    });
  });

  it('uses a block volume: formatted only if empty and confirmed, mounted by UUID, with an entry in fstab', async (context) => {
    const made = await one.inside('truncate -s 48M /srv/disk && losetup --find --show /srv/disk');
    const device = made.stdout.trim();
    if (made.code !== 0) return context.skip(`no loop device can be made here: ${made.stderr.trim()}`);
    const deployed = async (...args: string[]) =>
      DeployDocument.parse(JSON.parse((await run('one', '--provider', 'datacrunch', '--device', device, '--json', ...args)).stdout))
        .hosts[0];
    try {
      await one.inside('printf "# empty\\n" > /etc/fstab');
      expect(await deployed()).toMatchObject({
        error: { code: 'VOLUME_REFUSED', message: `${device} is empty`, help: expect.stringContaining('--format') },
      });
      expect(await deployed('--format', '--dry-run')).toMatchObject({
        step: 'done',
        plan: expect.arrayContaining([`format ${device} at /mnt/comfyui`]),
      });
      expect((await one.inside(`blkid -p ${device}`)).stdout).toBe('');
      // Not all of what is no file system is nothing.
      await one.inside(`echo precious | dd of=${device} bs=1 seek=4096 conv=notrunc status=none`);
      expect(await deployed('--format')).toMatchObject({
        error: { code: 'COMMAND_FAILED', message: expect.stringContaining('is not empty') },
      });
      await one.inside(`dd if=/dev/zero of=${device} bs=4096 count=2 conv=notrunc status=none`);

      expect(await deployed('--format')).toMatchObject({ step: 'done', error: null });
      const uuid = (await one.inside(`blkid -p -o value -s UUID ${device}`)).stdout.trim();
      expect(uuid).not.toBe('');
      expect((await one.inside('cat /etc/fstab; findmnt -n -o SOURCE,FSTYPE /mnt/comfyui')).stdout).toMatch(
        new RegExp(`^# empty\\nUUID=${uuid} /mnt/comfyui ext4 defaults,nofail 0 2\\n${device} +ext4\\n$`),
      );
      expect(await calls(one)).toContain('setup --yes --root /mnt/comfyui/workspace');

      // What is there stays: mounted again, never formatted again, and no second entry.
      await one.inside('echo mine > /mnt/comfyui/file; umount /mnt/comfyui');
      expect(await deployed('--format')).toMatchObject({ step: 'done' });
      expect(await deployed('--format')).toMatchObject({ step: 'done' });
      expect((await one.inside('cat /mnt/comfyui/file; grep -c UUID /etc/fstab')).stdout).toBe('mine\n1\n');
    } finally {
      await one.inside(`umount /mnt/comfyui; losetup --detach ${device}`);
    }
  });

  it('leaves nothing on this machine', async () => {
    expect(await stat('/mnt/comfyui').catch(() => null)).toBeNull();
    expect(await stat('/home/ubuntu/comfyui').catch(() => null)).toBeNull();
  });
});
