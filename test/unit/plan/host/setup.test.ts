import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import type { HostStep } from '../../../../src/domain/host/host.ts';
import { placed } from '../../../../src/plan/host/layout.ts';
import { fatalFindings, helpForHeld, refuseSetup, requirePlainPath, requireRoot, setupNotes } from '../../../../src/plan/host/refusals.ts';
import { planSetup, type SetupWish, setupQuestion } from '../../../../src/plan/host/setup.ts';
import { pathsOutside, placedUnit } from '../../../../src/plan/host/units.ts';
import { createFakeHost, type FakeHost } from '../../../fakes/host.ts';
import { aDoctorDocument } from '../../../support/machine/machine-documents.ts';

const UNIT =
  '[Service]\nExecStart=/usr/local/bin/agent run\nEnvironment=AGENT_ROOT=/workspace X=/workspace/shared Y=/workspaces\nReadWritePaths=-/workspace -/x-/workspace\n';
const wish: SetupWish = {
  root: '/workspace',
  prefix: '/usr/local',
  program: { file: '/media/usb/agent' },
  readable: [],
  writable: [],
  configuration: 'root: /workspace\n',
  secrets: 'AGENT_TOKEN=x\n',
  units: { 'comfylet-pm2.service': UNIT, 'comfylet.path': '[Path]\n', 'comfylet.service': UNIT },
  legacy: null,
  start: true,
};
const legacy = { initScript: '#!/bin/sh\n/usr/local/bin/agent\n', mgpu: '#!/bin/sh\n/usr/local/bin/agent\n' };

const fresh = (): FakeHost => {
  const host = createFakeHost();
  host.put('/media/usb/agent', 'the program', 0o755);
  return host;
};
const plan = async (host: FakeHost, change: Partial<SetupWish> = {}): Promise<HostStep[]> => {
  const wanted = { ...wish, ...change };
  return planSetup(wanted, await host.facts(setupQuestion(wanted)));
};
const whats = (steps: readonly HostStep[]): string[] => steps.map(({ what }) => what);
const carryOut = async (host: FakeHost, steps: readonly HostStep[]): Promise<void> => {
  for (const { action } of steps) await host.carryOut(action);
};
const aMachine = async (change: Partial<SetupWish> = {}): Promise<FakeHost> => {
  const host = fresh();
  await carryOut(host, await plan(host, change));
  return host;
};

describe('planSetup', () => {
  it('knows every step of a fresh machine, in order', async () => {
    expect(whats(await plan(fresh()))).toEqual([
      'group comfyui',
      'group comfylet',
      'user comfyui',
      'user comfylet',
      'directory /etc/comfylet',
      'directory /var/lib/comfylet',
      'directory /var/lib/comfyui',
      'directory /workspace',
      'program /usr/local/bin/agent',
      'file /etc/comfylet/agent.yaml',
      'file /etc/comfylet/agent.env',
      'file /etc/systemd/system/comfylet-pm2.service',
      'file /etc/systemd/system/comfylet.path',
      'file /etc/systemd/system/comfylet.service',
      'systemd',
      'enable comfylet-pm2.service, comfylet.service',
      'start comfylet-pm2.service, comfylet.service',
    ]);
  });

  it('has nothing to do the second time, and says nothing of secrets', async () => {
    const steps = await plan(fresh());
    expect(JSON.stringify(steps.map(({ what, why, how }) => [what, why, how]))).not.toContain('AGENT_TOKEN=');
    expect(await plan(await aMachine())).toEqual([]);
    expect(await plan(await aMachine({ legacy }), { legacy })).toEqual([]);
  });

  it('can be cut after each step, and goes on there', async () => {
    const all = await plan(fresh(), { legacy });
    for (const [count] of all.entries()) {
      const host = fresh();
      await carryOut(host, all.slice(0, count));
      await carryOut(host, await plan(host, { legacy }));
      expect(await plan(host, { legacy })).toEqual([]);
    }
  });

  const rows: readonly [name: string, change: (host: FakeHost) => void, wanted: Partial<SetupWish>, steps: string[]][] = [
    [
      'a new program restarts the agent alone',
      (host) => host.put('/media/usb/agent', 'newer'),
      {},
      ['program /usr/local/bin/agent', 'restart comfylet.service'],
    ],
    ['the installed program itself is not copied', () => undefined, { program: { file: '/usr/local/bin/agent' } }, []],
    ['an edited secret stays', (host) => host.put('/etc/comfylet/agent.env', 'AGENT_TOKEN=mine\n', 0o600), {}, []],
    [
      'a secret that all can read is closed',
      (host) => host.put('/etc/comfylet/agent.env', 'AGENT_TOKEN=mine\n', 0o644),
      {},
      ['rights of /etc/comfylet/agent.env: 0600 root:root'],
    ],
    [
      'an edited unit is written again, read, and used',
      (host) => host.put('/etc/systemd/system/comfylet.service', '[Unit]\n'),
      {},
      ['file /etc/systemd/system/comfylet.service', 'systemd', 'restart comfylet.service'],
    ],
    [
      'an edited unit of PM2 restarts nobody',
      (host) => host.put('/etc/systemd/system/comfylet-pm2.service', '[Unit]\n'),
      {},
      ['file /etc/systemd/system/comfylet-pm2.service', 'systemd'],
    ],
    [
      'a stopped agent is started',
      (host) => host.units.set('comfylet.service', { isEnabled: true, isActive: false, needsReload: false }),
      {},
      ['start comfylet.service'],
    ],
    [
      'nothing is started when nothing is to be',
      (host) => host.units.set('comfylet.service', { isEnabled: true, isActive: false, needsReload: false }),
      { start: false },
      [],
    ],
    [
      'a disabled unit is enabled',
      (host) => host.units.set('comfylet-pm2.service', { isEnabled: false, isActive: true, needsReload: false }),
      {},
      ['enable comfylet-pm2.service'],
    ],
    [
      'a unit that systemd read before is read again',
      (host) => host.units.set('comfylet-pm2.service', { isEnabled: true, isActive: true, needsReload: true }),
      {},
      ['systemd'],
    ],
    [
      'a lost member is put back',
      (host) => host.groups.set('comfyui', { gid: host.groups.get('comfyui')?.gid ?? 0, members: [] }),
      {},
      ['comfylet in group comfyui'],
    ],
    [
      'groups of the machine are used where there are some',
      (host) => host.groups.set('video', { gid: 44, members: [] }),
      {},
      ['comfyui in group video', 'comfylet in group video'],
    ],
    [
      'the root is closed to others',
      (host) => host.paths.set('/workspace', { kind: 'directory', uid: 0, gid: 0, mode: 0o755, content: null }),
      {},
      ['rights of /workspace: 2755 comfylet:comfyui'],
    ],
    [
      "the predecessor's commands come when they are asked for",
      () => undefined,
      { legacy },
      ['file /etc/init.d/comfyui', 'file /usr/local/bin/mgpu'],
    ],
    [
      'another prefix brings its directories, and its units',
      () => undefined,
      { prefix: '/opt/comfy/agent' },
      [
        'directory /opt',
        'directory /opt/comfy',
        'directory /opt/comfy/agent',
        'directory /opt/comfy/agent/bin',
        'program /opt/comfy/agent/bin/agent',
        'file /etc/systemd/system/comfylet-pm2.service',
        'file /etc/systemd/system/comfylet.service',
        'systemd',
        'restart comfylet.service',
      ],
    ],
  ];
  it.each(rows)('%s', async (_, change, wanted, steps) => {
    const host = await aMachine();
    change(host);
    expect(whats(await plan(host, wanted))).toEqual(steps);
  });

  it('gives users the numbers back that own what an earlier agent left', async () => {
    const host = fresh();
    host.paths.set('/var/lib/comfylet', { kind: 'directory', uid: 711, gid: 712, mode: 0o750, content: null });
    await carryOut(host, await plan(host));
    expect(host.users.get('comfylet')).toMatchObject({ uid: 711, gid: 712 });
    const taken = fresh();
    taken.paths.set('/var/lib/comfylet', { kind: 'directory', uid: 0, gid: 0, mode: 0o750, content: null });
    await carryOut(taken, await plan(taken));
    expect(taken.users.get('comfylet')?.uid).not.toBe(0);
  });

  it('gives what was left to the users of today when others have the numbers', async () => {
    const host = await aMachine();
    for (const name of ['comfylet', 'comfyui']) await host.carryOut({ do: 'remove-user', name });
    for (const path of ['releases', 'foreign'])
      host.paths.set(`/workspace/${path}`, {
        ...(host.paths.get('/workspace') ?? host.paths.get('/etc')!),
        uid: path === 'foreign' ? 5 : 990,
      });
    for (const path of ['/var/lib/comfylet', '/var/lib/comfyui']) {
      const uid = host.paths.get(path)?.uid ?? 0;
      host.users.set(`new-${uid}`, { uid, gid: uid, comment: '' });
    }
    const all = await plan(host);
    expect(whats(all).filter((what) => what.startsWith('give'))).toHaveLength(4);
    await carryOut(host, all);
    expect(whats(await plan(host))).toEqual([]);
    expect([...host.users].filter(([name]) => name.startsWith('new-')).map(([, { uid }]) => uid)).not.toContain(
      host.paths.get('/workspace/releases')?.uid,
    );
    expect(host.paths.get('/workspace/foreign')?.uid).toBe(5);
  });

  it('gives no new user a number that the other one had', async () => {
    const host = await aMachine();
    const before = host.users.get('comfylet');
    for (const name of ['comfylet', 'comfyui']) await host.carryOut({ do: 'remove-user', name });
    const home = host.paths.get('/var/lib/comfyui');
    host.users.set('someone-else', { uid: home?.uid ?? 0, gid: 5, comment: '' });
    await carryOut(host, await plan(host));
    expect(host.users.get('comfylet')).toMatchObject({ uid: before?.uid, gid: before?.gid });
    expect(new Set([...host.users.values()].map(({ uid }) => uid)).size).toBe(host.users.size);
  });

  it('names the place of the program and the root in units, and nothing that only looks like them', () => {
    const text = placed(UNIT, { prefix: '/opt/comfy', root: '/srv/c' });
    expect(text).toBe(
      '# comfylet: written by `agent setup`\n[Service]\nExecStart=/opt/comfy/bin/agent run\nEnvironment=AGENT_ROOT=/srv/c X=/srv/c/shared Y=/workspaces\nReadWritePaths=-/srv/c -/x-/workspace\n',
    );
    expect(placed('#!/bin/sh\nagent=/usr/local/bin/agent\n', { prefix: '/opt', root: '/w' })).toBe(
      '#!/bin/sh\n# comfylet: written by `agent setup`\nagent=/opt/bin/agent\n',
    );
  });
});

describe('refuseSetup', () => {
  const place = { filesystem: 'ext4', isMountPoint: false, isReadOnly: false, takesLinks: true };
  const rows: readonly [name: string, change: (host: FakeHost) => void, wanted: Partial<SetupWish>, code: string, words: RegExp][] = [
    ['no useradd', (host) => host.forget('useradd'), {}, 'SYSTEM_TOOL_MISSING', /useradd/],
    ['no systemd', (host) => host.set({ hasSystemd: false }), {}, 'SYSTEMD_MISSING', /this machine/],
    ['a container', (host) => host.set({ hasSystemd: false, container: 'docker' }), {}, 'SYSTEMD_MISSING', /container \(docker\)/],
    ['a fixed prefix', (host) => host.places.set('/usr/local/bin', { ...place, isReadOnly: true }), {}, 'PREFIX_NOT_WRITABLE', /read-only/],
    ['a fixed root', (host) => host.places.set('/workspace', { ...place, isReadOnly: true }), {}, 'ROOT_UNSUITABLE', /read-only/],
    [
      'a root without links',
      (host) => host.places.set('/workspace', { ...place, filesystem: 'vfat', takesLinks: false }),
      {},
      'ROOT_UNSUITABLE',
      /vfat.*symbolic links/,
    ],
    ['a root that is a file', (host) => host.put('/workspace', 'x'), {}, 'ROOT_UNSUITABLE', /not a directory/],
    ['another program of that name', (host) => host.put('/usr/local/bin/agent', 'another'), {}, 'IN_THE_WAY', /\/usr\/local\/bin\/agent/],
    [
      'another unit of that name',
      (host) => host.put('/etc/systemd/system/comfylet-pm2.service', 'another'),
      {},
      'IN_THE_WAY',
      /comfylet-pm2/,
    ],
    ["the predecessor's own script", (host) => host.put('/etc/init.d/comfyui', 'another'), { legacy }, 'IN_THE_WAY', /init\.d/],
    [
      'units of the former name',
      (host) => host.put('/etc/systemd/system/comfy-agent.service', '# comfy-agent: written by `agent setup`'),
      {},
      'IN_THE_WAY',
      /former name are here: comfy-agent\.service$/,
    ],
    ['a file where a directory goes', (host) => host.put('/etc/comfylet', 'x'), {}, 'IN_THE_WAY', /something else/],
  ];
  it.each(rows)('%s', async (_, change, wanted, code, words) => {
    const host = fresh();
    change(host);
    const asked = { ...wish, ...wanted };
    const facts = await host.facts(setupQuestion(asked));
    expect(() => refuseSetup(asked, facts, false)).toThrow(expect.objectContaining({ code, message: expect.stringMatching(words) }));
  });

  it.each([
    ['a fresh machine', () => undefined, {}],
    ['no systemd, and nothing is to be started', (host: FakeHost) => host.set({ hasSystemd: false }), { start: false }],
    ["the predecessor's own script, when its command is not asked for", (host: FakeHost) => host.put('/etc/init.d/comfyui', 'another'), {}],
    ['the same program, copied there by hand', (host: FakeHost) => host.put('/usr/local/bin/agent', 'the program'), {}],
  ])('lets pass: %s', async (_, change, wanted) => {
    const host = fresh();
    change(host);
    const asked = { ...wish, ...wanted };
    expect(refuseSetup(asked, await host.facts(setupQuestion(asked)), false)).toBeUndefined();
  });

  it('says what to remove of units of the former name, with force too', async () => {
    const host = fresh();
    for (const unit of ['comfy-agent.service', 'comfy-pm2.service']) host.put(`/etc/systemd/system/${unit}`, 'x');
    const facts = await host.facts(setupQuestion(wish));
    for (const force of [false, true])
      expect(() => refuseSetup(wish, facts, force)).toThrow(
        expect.objectContaining({
          help: expect.stringMatching(
            /systemctl disable --now comfy-agent\.service comfy-pm2\.service.*rm \/etc\/systemd\/system\/comfy-agent\.service .*userdel comfy-agent.*\/var\/lib\/comfy-agent to \/var\/lib\/comfylet/,
          ),
        }),
      );
  });

  it('lets an older program of ours be replaced, and anything with force', async () => {
    const host = await aMachine();
    host.put('/media/usb/agent', 'newer');
    expect(refuseSetup(wish, await host.facts(setupQuestion(wish)), false)).toBeUndefined();
    const foreign = fresh();
    foreign.put('/usr/local/bin/agent', 'another');
    expect(refuseSetup(wish, await foreign.facts(setupQuestion(wish)), true)).toBeUndefined();
  });

  it('asks for root rights, and for paths that a unit can name', () => {
    expect(() => requireRoot(false, 'agent setup --root /x')).toThrow(
      expect.objectContaining({ code: 'ROOT_RIGHTS_NEEDED', help: 'run `sudo agent setup --root /x`' }),
    );
    expect(requireRoot(true, 'agent setup')).toBeUndefined();
    for (const path of ['/', 'relative', '/with space', '/per%cent', '/a/../b', '/new\nline', '/$HOME'])
      expect(() => requirePlainPath(path, '--root')).toThrow(expect.objectContaining({ code: 'USAGE' }));
    expect(requirePlainPath('/srv/comfy-ui_2/a.b@c', '--root')).toBeUndefined();
  });
});

describe('placedUnit', () => {
  const shipped = (name: string): string => readFileSync(join(import.meta.dirname, '../../../../systemd', name), 'utf8');
  const closed = (host: FakeHost, path: string): void => {
    host.paths.set(path, { kind: 'directory', uid: 0, gid: 0, mode: 0o750, content: null });
  };
  /** The lines of a placed unit that differ from a root anywhere else. */
  const differing = async (host: FakeHost, change: Partial<SetupWish>): Promise<string[]> => {
    const asked = { ...wish, ...change };
    const facts = await host.facts(setupQuestion(asked));
    const usual = placed(shipped('comfylet.service'), asked).split('\n');
    return placedUnit(shipped('comfylet.service'), asked, facts)
      .split('\n')
      .filter((line) => !usual.includes(line));
  };
  const below = (path: string): Partial<SetupWish> => ({ root: path, readable: ['/home/me/key', '/etc/hosts'], writable: [] });
  it.each<[string, (host: FakeHost) => void, Partial<SetupWish>, string[]]>([
    ['an open directory', () => undefined, below('/srv/comfy'), []],
    [
      'a home, open or not',
      () => undefined,
      below('/home/me/comfy'),
      ['ProtectHome=tmpfs', 'BindPaths=/home/me/comfy', 'BindReadOnlyPaths=-/home/me/key'],
    ],
    [
      'a closed directory',
      (host) => {
        closed(host, '/data/private');
        closed(host, '/data/private/more');
      },
      below('/data/private/more/comfy'),
      ['TemporaryFileSystem=/data/private:ro', 'BindPaths=/data/private/more/comfy'],
    ],
    [
      'a home, with models in another',
      () => undefined,
      { root: '/root/comfy', readable: ['/home/models'], writable: ['/home/models'] },
      [
        'ReadWritePaths=-/root/comfy -/var/lib/comfyui -/home/models',
        'ProtectHome=tmpfs',
        'BindPaths=/root/comfy',
        'BindPaths=-/home/models',
      ],
    ],
    ['models elsewhere', () => undefined, { writable: ['/mnt/models'] }, ['ReadWritePaths=-/workspace -/var/lib/comfyui -/mnt/models']],
  ])('a root below %s', async (_, change, wanted, lines) => {
    const host = fresh();
    change(host);
    expect(await differing(host, wanted)).toEqual(lines);
  });

  it.each(['comfylet.service', 'comfylet-pm2.service'])('%s waits for the volume that the root is on', (name) => {
    const text = placedUnit(shipped(name), { ...wish, root: '/mnt/comfyui/workspace' }, { paths: {} });
    expect(text).toContain('\nRequiresMountsFor=/mnt/comfyui/workspace\n');
    expect(text).toMatch(/^ReadWritePaths=-\/mnt\/comfyui\/workspace/m);
  });

  it('finds paths that a configuration names', () => {
    const value = { a: '/home/me/x', b: [{ c: '/srv/y' }], d: '/workspace/z', e: 'word', f: '/odd path', g: null };
    expect(pathsOutside('/workspace', value)).toEqual(['/home/me/x', '/srv/y']);
  });
});

describe('setupNotes', () => {
  it('tells of a directory that stays closed', async () => {
    const host = fresh();
    host.paths.set('/data', { kind: 'directory', uid: 0, gid: 0, mode: 0o700, content: null });
    const asked = { ...wish, root: '/data/comfy' };
    expect(setupNotes(asked, await host.facts(setupQuestion(asked)))).toEqual([
      '/data lets nobody else in, and stays so: the units alone see /data/comfy',
    ]);
  });

  it('tells of a root on another machine, and that state stays here', async () => {
    const host = fresh();
    host.places.set('/workspace', { filesystem: 'nfs4', isMountPoint: true, isReadOnly: false, takesLinks: true });
    const notes = async () => setupNotes(wish, await host.facts(setupQuestion(wish)));
    expect(await notes()).toEqual([expect.stringMatching(/nfs4.*local disk \(\/var\/lib\/comfylet\)/)]);
    host.places.set('/var/lib/comfylet', { filesystem: 'nfs', isMountPoint: false, isReadOnly: false, takesLinks: true });
    expect(await notes()).toHaveLength(2);
  });
});

describe('fatalFindings', () => {
  it('takes what mends by itself for a warning', () => {
    const finding = (check: string, status: 'ok' | 'fail') => ({ check, status, message: 'm', help: null });
    const findings = [finding('python', 'fail'), finding('repository', 'fail'), finding('git', 'ok'), finding('ports', 'fail')];
    expect(fatalFindings(aDoctorDocument({ findings })).map(({ check }) => check)).toEqual(['python']);
  });
});

describe('helpForHeld', () => {
  it('has the packages of all findings in one line', () => {
    const lack = (check: string, debianPackage: string) => ({ check, status: 'fail' as const, message: 'm', help: 'h', debianPackage });
    const held = helpForHeld([lack('ps', 'procps'), lack('git', 'git'), { check: 'root', status: 'fail', message: 'm', help: 'h' }]);
    expect(held).toContain('apt-get install --no-install-recommends procps git)');
    expect(helpForHeld([{ check: 'root', status: 'fail', message: 'm', help: 'h' }])).toMatch(/^mend what is named above/);
  });
});
