import { createHash } from 'node:crypto';
import { copyFileSync } from 'node:fs';
import { chmod, mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { AGENT } from '../support/agent/agent.ts';
import { type HostRoom, hostRoom, noRoom, type RoomResult } from '../support/host/room.ts';

/** scripts/install.sh, and the built program through it, on this machine's own files in a namespace without systemd. */

const refusal = noRoom();
const SCRIPT = resolve(import.meta.dirname, '../../scripts/install.sh');
const ENVIRONMENT = { COMFYUI_REPO: 'simulator:', MOCK_GPU: '1' };
const BINARY = process.env['AGENT_BINARY'];
/** An ELF header for x86-64 that nothing can run. */
const elf = (machine: number): Buffer => {
  const header = Buffer.alloc(64);
  header.write('\x7fELF\x02\x01\x01', 'latin1');
  header.writeUInt16LE(machine, 18);
  return header;
};

describe.skipIf(refusal !== null)(`install.sh${refusal === null ? '' : ` (${refusal})`}`, { timeout: 60_000 }, () => {
  let room: HostRoom;
  let directory: string;
  beforeAll(async () => {
    directory = await mkdtemp(join(tmpdir(), 'agent-install-'));
    copyFileSync(SCRIPT, join(directory, 'install.sh'));
    const agent = join(directory, 'agent');
    if (BINARY === undefined) await writeFile(agent, `#!/bin/sh\nexec '${process.execPath}' '${AGENT}' "$@"\n`);
    else copyFileSync(BINARY, agent);
    // As it comes out of some archives.
    await chmod(agent, 0o644);
  });
  afterAll(() => rm(directory, { recursive: true, force: true }));
  beforeEach(async () => {
    room = await hostRoom();
  });
  afterEach(() => room.close());

  const install = (...args: string[]): Promise<RoomResult> => room.run(['sh', join(directory, 'install.sh'), ...args], ENVIRONMENT);
  const script = (text: string): Promise<RoomResult> => room.run(['sh', '-c', text]);

  it('--dry-run shows the steps and changes nothing at all', async () => {
    const { code, stdout } = await install('--dry-run', '--no-start');
    expect(code).toBe(0);
    expect(stdout).toMatch(/\d+ steps; nothing was changed\n$/);
    expect(room.changes()).toEqual([]);
  });

  it('sets a machine up without systemd, once, and takes it all back', async () => {
    expect(await install('--no-start', '--legacy')).toMatchObject({ code: 0, stdout: expect.stringContaining('nothing was started') });
    const changed = room.changes();
    expect(changed).toEqual(
      expect.arrayContaining([
        '/etc/comfylet/agent.env',
        '/etc/comfylet/agent.yaml',
        '/etc/init.d/comfyui',
        '/etc/systemd/system/comfylet.service',
        '/etc/systemd/system/multi-user.target.wants/comfylet.service',
        '/usr/local/bin/agent',
        '/usr/local/bin/mgpu',
      ]),
    );
    expect((await script('stat -c "%a %U:%G" /etc/comfylet/agent.env /workspace')).stdout).toMatch(
      /^600 root:root\n2755 comfy[\w-]*:comfyui\n$/,
    );
    expect((await script('grep -c "^AGENT_TOKEN=.\\{40\\}" /etc/comfylet/agent.env')).stdout).toBe('1\n');
    expect((await install('--no-start', '--legacy')).stdout).toBe('nothing is to be done: this machine is set up\n');
    expect(room.changes()).toEqual(changed);
    await script('mkdir -p /workspace/shared/models && echo model >/workspace/shared/models/one');
    expect(await install('uninstall')).toMatchObject({ code: 0, stdout: expect.stringContaining('/workspace/shared/models (models)') });
    expect(
      (await script('cat /workspace/shared/models/one; ls /usr/local/bin/agent /etc/init.d/comfyui; getent passwd comfyui')).stdout,
    ).toBe('model\n');
    expect(room.changes().filter((path) => /systemd|bin\/|init\.d/.test(path))).toEqual([]);
    expect(await install('uninstall', '--purge', '--yes')).toMatchObject({ code: 0 });
    expect((await script('ls -d /workspace /etc/comfylet /var/lib/comfy*')).stdout).toBe('');
  });

  it('says how to run in a container, and fails unless that is asked for', async () => {
    const said = await install();
    expect(said).toMatchObject({
      code: 1,
      stderr: expect.stringContaining('ENTRYPOINT ["/usr/bin/tini", "--", "/usr/local/bin/agent", "run"]'),
    });
    expect((await install('--no-systemd')).code).toBe(0);
    expect(room.changes()).toEqual([]);
  });

  it('heeds no PATH of the caller, nor its directory', async () => {
    await script(
      'mkdir /hostile && for name in id uname od sed sha256sum useradd groupadd getent git python3 ps sort head; do printf "#!/bin/sh\\ntouch /hostile/met-$0\\n" >/hostile/$name; chmod +x /hostile/$name; done',
    );
    const { code } = await room.run(['sh', join(directory, 'install.sh'), '--no-start'], {
      ...ENVIRONMENT,
      PATH: '/hostile:.:/usr/bin:/bin',
    });
    expect(code).toBe(0);
    expect((await script('ls /hostile')).stdout).not.toContain('met');
  });

  it('refuses a read-only place for the program, and takes another', async () => {
    await script(
      'mount -o bind,ro /usr/local /usr/local || { mount --bind /usr/local /usr/local && mount -o remount,bind,ro /usr/local; }',
    );
    expect(await install('--no-start')).toMatchObject({
      code: 1,
      stderr: expect.stringMatching(/error\[PREFIX_NOT_WRITABLE\].*\/usr\/local is read-only[\s\S]*--prefix/),
    });
    expect(room.changes()).toEqual([]);
    expect((await install('--no-start', '--prefix', '/opt/comfy')).code).toBe(0);
    expect((await script('cat /etc/systemd/system/comfylet.service')).stdout).toContain('ExecStart=/opt/comfy/bin/agent run');
  });

  it('refuses a root that takes no links', async () => {
    await script('mkdir -p /queue && mount -t mqueue none /queue');
    expect(await install('--no-start', '--root', '/queue')).toMatchObject({
      code: 1,
      stderr: expect.stringMatching(/ROOT_UNSUITABLE\].*mqueue.*symbolic links/),
    });
    expect(room.changes()).toEqual([]);
  });

  it('needs root', async () => {
    const { code, stderr } = await room.run(['setpriv', '--reuid', '65534', '--clear-groups', 'sh', SCRIPT, '--binary', AGENT]);
    expect({ code, stderr }).toEqual({ code: 1, stderr: expect.stringMatching(/^error: .*root rights\nhelp: run: sudo sh /) });
  });

  it.each([
    ['of another architecture', elf(0xb7), null, /is made for aarch64, this machine is x86_64/],
    ['of no known architecture', elf(0x15), null, /is made for another/],
    ['that came damaged', elf(0x3e), 'x', /is damaged: its sha256 is [0-9a-f]{64}/],
  ])('refuses a binary %s', async (_, content, sum, words) => {
    const place = join(directory, 'other');
    await mkdir(place, { recursive: true });
    await writeFile(join(place, 'agent'), content);
    await writeFile(join(place, 'SHA256SUMS'), sum === null ? '' : `${createHash('sha256').update(sum).digest('hex')}  agent\n`);
    const { code, stderr } = await install('--binary', join(place, 'agent'));
    expect({ code, stderr }).toEqual({ code: 1, stderr: expect.stringMatching(words) });
    expect(room.changes()).toEqual([]);
  });

  it('refuses a binary that does not start, whose library is missing, or that lies where nothing may run', async () => {
    await script('mkdir -p /bad && mount -t tmpfs -o noexec none /bad');
    const place = join(directory, 'unable');
    await mkdir(place, { recursive: true });
    await writeFile(join(place, 'broken'), elf(0x3e), { mode: 0o755 });
    const missing = 'error while loading shared libraries: libstdc++.so.6: cannot open shared object file';
    await writeFile(join(place, 'lacking'), `#!/bin/sh\necho '$0: ${missing}' >&2\nexit 127\n`, { mode: 0o755 });
    await script(`cp '${join(place, 'lacking')}' /bad/agent`);
    for (const [binary, words] of [
      [join(place, 'broken'), /^error: .*broken does not start: .*\nhelp: copy it again/],
      [join(place, 'lacking'), /^error: .*libstdc\+\+\.so\.6.*\nhelp: .*apt-get install libstdc\+\+6/],
      ['/bad/agent', /^error: .*noexec.*\nhelp: copy it/],
    ] as const)
      expect(await install('--no-start', '--binary', binary)).toMatchObject({ code: 1, stderr: expect.stringMatching(words) });
    expect(room.changes().filter((path) => !path.startsWith('/bad'))).toEqual([]);
  });

  it.each([
    [['--binary'], 2, /--binary needs a file/],
    [['--binary', '/no/such/file'], 1, /\/no\/such\/file does not exist/],
    [['--no-start', '--nonsense'], 2, /there is no option --nonsense/],
  ])('refuses %j', async (args, expected, words) => {
    expect(await install(...args)).toMatchObject({ code: expected, stderr: expect.stringMatching(words) });
  });

  it('is what the program prints', async () => {
    const printed = await room.run([process.execPath, AGENT, 'setup', '--print']);
    expect(printed.stdout).toContain('OLDEST_GLIBC=2.28');
    expect((await room.run(['sh', '-n', SCRIPT])).code).toBe(0);
  });
});
