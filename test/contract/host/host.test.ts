import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import type { HostAction, HostFacts } from '../../../src/domain/host/host.ts';
import type { HostSystem } from '../../../src/ports/host.ts';
import { createFakeHost } from '../../fakes/host.ts';
import { type HostRoom, hostRoom, noRoom } from '../../support/host/room.ts';

const refusal = noRoom();
const rooms: HostRoom[] = [];
afterEach(async () => {
  await Promise.all(rooms.splice(0).map((room) => room.close()));
});

const hosts: readonly { readonly name: string; readonly host: () => Promise<HostSystem> }[] = [
  { name: 'fake', host: async () => createFakeHost() },
  {
    name: 'real',
    host: async () => {
      const room = await hostRoom();
      rooms.push(room);
      return room.system;
    },
  },
];

const USER = 'agent-probe';
const OTHER = 'agent-other';
const QUESTION = {
  users: [USER, 'root'],
  groups: [USER, OTHER],
  paths: [] as string[],
  units: ['agent-probe.service'],
  places: [] as string[],
  tools: ['useradd', 'getent'],
};
const rootRights = (mode: number) => ({ owner: 'root', group: 'root', mode });

describe.each(hosts)('HostSystem: $name', ({ name, host }) => {
  const isSkipped = name === 'real' && refusal !== null;
  const look = (system: HostSystem, ...paths: string[]): Promise<HostFacts> => system.facts({ ...QUESTION, paths });
  const carryOutTwice = async (system: HostSystem, ...actions: HostAction[]): Promise<void> => {
    for (const action of actions) {
      await system.carryOut(action);
      await system.carryOut(action);
    }
  };
  const addUser = (uid: number | null = null, groups: readonly string[] = []): HostAction => ({
    do: 'add-user',
    name: USER,
    uid,
    group: USER,
    groups,
    home: '/var/lib/agent-probe',
    comment: 'made by a test',
  });

  it.skipIf(isSkipped)('tells what there is, and nulls for what there is not', async () => {
    const system = await host();
    const facts = await look(system, '/etc', '/no/such/path');
    expect(facts).toMatchObject({ isRoot: true, users: { root: { uid: 0, gid: 0 }, [USER]: null }, groups: { [USER]: null } });
    expect(facts.paths['/etc']).toMatchObject({ kind: 'directory', uid: 0, hasOwner: true, hasGroup: true, sha256: null, head: null });
    expect(facts.paths['/no/such/path']).toBeNull();
    expect(facts.tools['useradd']).toMatch(/^\/usr\/sbin\/useradd$/);
    expect(facts.units['agent-probe.service']?.isEnabled).toBe(false);
  });

  it.skipIf(isSkipped)('makes groups and users once, with the number asked for, and removes them with their group', async () => {
    const system = await host();
    await carryOutTwice(system, { do: 'add-group', name: OTHER, gid: null }, { do: 'add-group', name: USER, gid: 877 }, addUser(876), {
      do: 'add-member',
      user: USER,
      group: OTHER,
    });
    const facts = await look(system);
    expect(facts.users[USER]).toEqual({ uid: 876, gid: 877, comment: 'made by a test' });
    expect(facts.groups[OTHER]?.members).toEqual([USER]);
    await carryOutTwice(system, { do: 'remove-user', name: USER });
    const after = await look(system);
    expect(after).toMatchObject({ users: { [USER]: null }, groups: { [USER]: null } });
    expect(after.groups[OTHER]?.members).toEqual([]);
  });

  it.skipIf(isSkipped)('lets the system choose numbers, and takes further groups with the user', async () => {
    const system = await host();
    await carryOutTwice(
      system,
      { do: 'add-group', name: OTHER, gid: null },
      { do: 'add-group', name: USER, gid: null },
      addUser(null, [OTHER]),
    );
    const facts = await look(system);
    expect(facts.users[USER]?.uid).toBeGreaterThan(0);
    expect(facts.users[USER]?.uid).toBeLessThan(1_000);
    expect(facts.groups[OTHER]?.members).toEqual([USER]);
  });

  it.skipIf(isSkipped)('writes files and directories with owner and mode, over what is there', async () => {
    const system = await host();
    await carryOutTwice(system, { do: 'add-group', name: USER, gid: null }, addUser());
    await carryOutTwice(
      system,
      { do: 'make-directory', path: '/var/lib/agent-probe', rights: { owner: USER, group: USER, mode: 0o2775 } },
      { do: 'write-file', path: '/var/lib/agent-probe/secret', content: 'one\n', rights: { owner: 'root', group: USER, mode: 0o640 } },
      { do: 'write-file', path: '/var/lib/agent-probe/secret', content: 'two\n', rights: { owner: 'root', group: USER, mode: 0o600 } },
      { do: 'copy-file', from: '/var/lib/agent-probe/secret', path: '/var/lib/agent-probe/program', rights: rootRights(0o755) },
    );
    const { users, groups, paths } = await look(
      system,
      '/var/lib/agent-probe',
      '/var/lib/agent-probe/secret',
      '/var/lib/agent-probe/program',
    );
    expect(paths['/var/lib/agent-probe']).toMatchObject({ kind: 'directory', uid: users[USER]?.uid, gid: groups[USER]?.gid, mode: 0o2775 });
    expect(paths['/var/lib/agent-probe/secret']).toMatchObject({
      kind: 'file',
      uid: 0,
      gid: groups[USER]?.gid,
      mode: 0o600,
      sha256: '27dd8ed44a83ff94d557f9fd0412ed5a8cbca69ea04922d88c01184a07300a5a',
      head: 'two\n',
    });
    expect(paths['/var/lib/agent-probe/program']).toMatchObject({ kind: 'file', uid: 0, mode: 0o755, head: 'two\n' });
    await carryOutTwice(system, {
      do: 'set-rights',
      path: '/var/lib/agent-probe/program',
      rights: { owner: USER, group: USER, mode: 0o4711 },
    });
    const again = await look(system, '/var/lib/agent-probe/program');
    expect(again.paths['/var/lib/agent-probe/program']).toMatchObject({ uid: users[USER]?.uid, mode: 0o4711, head: 'two\n' });
  });

  it.skipIf(isSkipped)('tells whether the owner of what is left is still known', async () => {
    const system = await host();
    await carryOutTwice(
      system,
      { do: 'add-group', name: USER, gid: null },
      addUser(),
      { do: 'make-directory', path: '/var/lib/agent-probe', rights: { owner: USER, group: USER, mode: 0o750 } },
      { do: 'remove-user', name: USER },
    );
    const { paths } = await look(system, '/var/lib/agent-probe');
    expect(paths['/var/lib/agent-probe']).toMatchObject({ hasOwner: false, hasGroup: false });
  });

  it.skipIf(isSkipped)('gives what has a number to another owner, and nothing else', async () => {
    const system = await host();
    const directory = '/var/lib/agent-probe';
    await carryOutTwice(
      system,
      { do: 'add-group', name: USER, gid: null },
      addUser(),
      { do: 'make-directory', path: directory, rights: { owner: USER, group: USER, mode: 0o755 } },
      { do: 'write-file', path: `${directory}/theirs`, content: 'a', rights: rootRights(0o644) },
      { do: 'write-file', path: `${directory}/ours`, content: 'a', rights: { owner: USER, group: 'root', mode: 0o644 } },
    );
    const { users } = await look(system);
    const from = { uid: users[USER]?.uid ?? -1, gid: users[USER]?.gid ?? -1 };
    await carryOutTwice(system, { do: 'remove-user', name: USER }, { do: 'add-group', name: USER, gid: 877 }, addUser(876), {
      do: 'give-tree',
      path: directory,
      from,
      user: USER,
      group: USER,
    });
    const { paths } = await look(system, directory, `${directory}/theirs`, `${directory}/ours`);
    expect(paths[directory]).toMatchObject({ uid: 876, gid: 877, mode: 0o755 });
    expect(paths[`${directory}/theirs`]).toMatchObject({ uid: 0, gid: 0 });
    expect(paths[`${directory}/ours`]).toMatchObject({ uid: 876, gid: 0 });
  });

  it.skipIf(isSkipped)('removes files, empty directories and trees', async () => {
    const system = await host();
    const directory = '/var/lib/agent-probe';
    await carryOutTwice(
      system,
      { do: 'make-directory', path: directory, rights: rootRights(0o755) },
      { do: 'make-directory', path: `${directory}/deep`, rights: rootRights(0o755) },
      { do: 'write-file', path: `${directory}/deep/a`, content: 'a', rights: rootRights(0o644) },
      { do: 'write-file', path: `${directory}/b`, content: 'b', rights: rootRights(0o644) },
      { do: 'remove-file', path: `${directory}/b` },
      { do: 'remove-empty', path: directory },
    );
    const before = await look(system, directory, `${directory}/b`, `${directory}/deep/a`);
    expect(before.paths).toMatchObject({
      [directory]: { kind: 'directory' },
      [`${directory}/b`]: null,
      [`${directory}/deep/a`]: { kind: 'file' },
    });
    await carryOutTwice(system, { do: 'remove-tree', path: `${directory}/deep` }, { do: 'remove-empty', path: directory });
    expect((await look(system, directory)).paths[directory]).toBeNull();
  });

  it.skipIf(isSkipped)('says why something cannot be done', async () => {
    const system = await host();
    await expect(
      system.carryOut({ do: 'write-file', path: '/no/such/directory/file', content: '', rights: rootRights(0o644) }),
    ).rejects.toMatchObject({ code: 'ROOT_NOT_WRITABLE', message: expect.stringContaining('/no/such/directory/file') });
    await expect(
      system.carryOut({
        do: 'make-directory',
        path: '/var/lib/agent-probe',
        rights: { owner: 'nobody-of-this-name', group: 'root', mode: 0o755 },
      }),
    ).rejects.toMatchObject({ code: 'COMMAND_FAILED', message: expect.stringContaining('nobody-of-this-name') });
  });
});

describe.skipIf(refusal !== null)('the real host alone', () => {
  let room: HostRoom;
  beforeAll(async () => {
    room = await hostRoom();
  });
  afterAll(() => room.close());
  const places = (...paths: string[]) => room.system.facts({ ...QUESTION, places: paths });

  it('knows filesystems: read-only ones, and those without links', async () => {
    for (const script of [
      'mkdir /fixed /queue && mount -t tmpfs -o ro none /fixed && mount -t mqueue none /queue',
      'mkdir -p "/with space/deep" && mount -t tmpfs none "/with space"',
    ])
      expect(await room.run(['sh', '-c', script])).toMatchObject({ code: 0 });
    const found = (await places('/fixed/not/there', '/queue', '/with space', '/')).places;
    expect(found['/fixed/not/there']).toEqual({ filesystem: 'tmpfs', isMountPoint: false, isReadOnly: true, takesLinks: null });
    expect(found['/queue']).toMatchObject({ filesystem: 'mqueue', isMountPoint: true, takesLinks: false });
    expect(found['/with space']).toEqual({ filesystem: 'tmpfs', isMountPoint: true, isReadOnly: false, takesLinks: true });
    expect(found['/']).toMatchObject({ filesystem: 'overlay', takesLinks: true });
  });

  it('leaves nothing behind by looking', async () => {
    const before = room.changes();
    await room.system.facts({ ...QUESTION, paths: ['/etc/passwd'], places: ['/', '/workspace', '/usr/local'] });
    expect(room.changes()).toEqual(before);
  });

  it('finds no program on PATH, whatever is put there', async () => {
    const script =
      'mkdir -p /usr/local/sbin && printf "#!/bin/sh\\necho hostile >/hostile\\n" >/usr/local/sbin/groupadd && chmod +x /usr/local/sbin/groupadd';
    expect((await room.run(['sh', '-c', script])).code).toBe(0);
    expect((await room.system.facts({ ...QUESTION, tools: ['groupadd'] })).tools['groupadd']).toBe('/usr/sbin/groupadd');
    await room.system.carryOut({ do: 'add-group', name: OTHER, gid: null });
    expect(room.changes()).not.toContain('/hostile');
  });

  it('replaces a program that runs, and keeps a mounted directory', async () => {
    expect((await room.run(['cp', '/bin/sleep', '/usr/bin/agent-probe'])).code).toBe(0);
    const running = room.start(['/usr/bin/agent-probe', '60']);
    await room.system.carryOut({ do: 'copy-file', from: '/bin/true', path: '/usr/bin/agent-probe', rights: rootRights(0o755) });
    expect(running.exitCode).toBeNull();
    expect((await room.run(['/usr/bin/agent-probe'])).code).toBe(0);
    expect(
      (await room.run(['sh', '-c', 'mkdir -p /tree/mounted && mount -t tmpfs none /tree/mounted && touch /tree/mounted/kept'])).code,
    ).toBe(0);
    await expect(room.system.carryOut({ do: 'remove-tree', path: '/tree/mounted' })).rejects.toMatchObject({ code: 'COMMAND_FAILED' });
    expect((await room.run(['ls', '/tree/mounted'])).stdout).toBe('kept\n');
    expect((await room.run(['ls', '-A', '/usr/bin'])).stdout).not.toContain('.new');
  });
});
