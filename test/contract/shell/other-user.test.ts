import { chmod, chown, mkdir, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { createFiles } from '../../../src/adapters/files/files.ts';
import { commandAs, firstUnreadable, programBehind, shareWithGroup, WITHOUT_RIGHTS } from '../../../src/adapters/shell/other-user.ts';
import { createShell } from '../../../src/adapters/shell/shell.ts';
import { eventually } from '../../support/eventually.ts';
import { type TempRoot, tempRoot } from '../../support/temp-root.ts';

/** A user without rights that every machine has. */
const USER = 'nobody';
const isRoot = process.getuid?.() === 0;
const PATH = '/usr/local/bin:/usr/bin:/bin';
const shell = createShell({ path: PATH });
let root: TempRoot;
beforeEach(async () => {
  root = await tempRoot();
});
afterEach(() => root.remove());

describe.skipIf(!isRoot)('a shell of another user', () => {
  it('runs programs as that user, without rights and without a way to get some', async () => {
    const other = createShell({ path: PATH, prefix: await commandAs(shell, USER), mark: { MARK: 'here' } });
    const { exitCode, stdout } = await other.run('sh', [
      '-c',
      'id -un; echo "$MARK"; grep -E "^(Cap(Inh|Prm|Eff|Amb)|NoNewPrivs)" /proc/self/status',
    ]);
    expect(exitCode).toBe(0);
    const none = '0000000000000000';
    expect(stdout).toBe(`${USER}\nhere\nCapInh:\t${none}\nCapPrm:\t${none}\nCapEff:\t${none}\nCapAmb:\t${none}\nNoNewPrivs:\t1\n`);
  });

  it('arguments reach the program as they are, and so do its exit code and its end', async () => {
    const other = createShell({ path: PATH, prefix: await commandAs(shell, USER) });
    const odd = ['--reuid', '0', '-- ; $(id)', ''];
    expect((await other.run('printf', ['%s|', ...odd])).stdout).toBe(`${odd.join('|')}|`);
    expect((await other.run('sh', ['-c', 'exit 7'])).exitCode).toBe(7);
    const running = other.spawn('sleep', ['1000']);
    await eventually('it runs', async () => (await readFile(`/proc/${running.pid}/comm`, 'utf8')) === 'sleep\n');
    expect((await running.end(1_000)).signal).toBe('SIGINT');
  });

  it('what that user may not read it does not read', async () => {
    await writeFile(root.at('secret'), 'x', { mode: 0o600 });
    const other = createShell({ path: PATH, prefix: await commandAs(shell, USER) });
    expect((await other.run('cat', [root.at('secret')])).exitCode).toBe(1);
    expect((await shell.run('cat', [root.at('secret')])).stdout).toBe('x');
  });

  it('what that user may not read of a directory is found, also where only an access list says so', async () => {
    const other = createShell({ path: PATH, prefix: await commandAs(shell, USER) });
    await mkdir(root.at('pack/nodes'), { recursive: true });
    await chmod(root.path, 0o755);
    const file = root.at('pack/nodes/a.txt');
    await writeFile(file, 'x', { mode: 0o644 });
    expect(await firstUnreadable(other, root.at('pack'))).toBeNull();
    // The user's own entry is empty, while the modes let everybody read (acl(5), version 2 of the attribute).
    const uid = Number((await shell.run('id', ['-u', USER])).stdout);
    const entries = [
      [1, 6, 0xffff_ffff],
      [2, 0, uid],
      [4, 4, 0xffff_ffff],
      [16, 4, 0xffff_ffff],
      [32, 4, 0xffff_ffff],
    ];
    const deny = `import os, struct, sys
os.setxattr(sys.argv[1], 'system.posix_acl_access', struct.pack('<I', 2) + b''.join(struct.pack('<HHI', *each) for each in ${JSON.stringify(entries)}))`;
    expect((await shell.run('python3', ['-c', deny, file])).exitCode).toBe(0);
    expect((await stat(file)).mode & 0o777).toBe(0o644);
    expect(await firstUnreadable(other, root.at('pack'))).toBe(file);
    await rm(file);
    await chmod(root.at('pack/nodes'), 0o744);
    expect(await firstUnreadable(other, root.at('pack'))).toBe(root.at('pack/nodes'));
    await chmod(root.path, 0o700);
    expect(await firstUnreadable(other, root.at('pack'))).toMatch(/pack .*Permission denied/);
  });

  it.each([
    ['no-such-user-here', /cannot be run as no-such-user-here \(users\.comfyui\)/],
    ['root', /is root/],
    ['--help', /cannot be run as --help/],
  ])('a user %s is refused', async (user, message) => {
    await expect(commandAs(shell, user)).rejects.toMatchObject({ code: 'CONFIG_INVALID', message: expect.stringMatching(message) });
  });

  it('who may not do that is told so', async () => {
    const other = createShell({ path: PATH, prefix: await commandAs(shell, USER) });
    await expect(commandAs(other, 'daemon')).rejects.toMatchObject({ code: 'CONFIG_INVALID', help: expect.stringContaining('unit') });
  });

  it('a program without rights passes its arguments on', async () => {
    const program = await programBehind(createFiles(), root.at("it's"), WITHOUT_RIGHTS, '/usr/bin/printf');
    expect((await shell.run(program, ['%s|', 'a b', '$c'])).stdout).toBe('a b|$c|');
    expect(WITHOUT_RIGHTS[0]).toMatch(/^\//);
  });
});

describe('files for a group', () => {
  const modeOf = async (path: string) => (await stat(path)).mode & 0o7777;

  it('what is private is for the group too, and nothing else changes', async () => {
    const files = shareWithGroup(createFiles(), (path) => path.startsWith(root.at('shared')));
    await files.ensureDirectory(root.at('shared/private'), 0o700);
    await files.writeText(root.at('shared/private/text'), 'x', 0o600);
    await files.writeText(root.at('shared/plain'), 'x');
    await files.ensureDirectory(root.at('elsewhere'), 0o700);
    await files.writeText(root.at('elsewhere/text'), 'x', 0o600);
    expect(await modeOf(root.at('shared/private'))).toBe(0o770);
    expect(await modeOf(root.at('shared/private/text'))).toBe(0o660);
    expect((await modeOf(root.at('shared/plain'))) & 0o007).toBe(0o004);
    expect(await modeOf(root.at('elsewhere'))).toBe(0o700);
    expect(await modeOf(root.at('elsewhere/text'))).toBe(0o600);
  });

  it.skipIf(!isRoot)('the group is that of the directory, where it says so', async () => {
    await mkdir(root.at('shared'));
    await chown(root.at('shared'), 0, 4_242);
    const files = shareWithGroup(createFiles(), () => true);
    await createShell({ path: PATH }).run('chmod', ['2755', root.at('shared')]);
    await files.writeText(root.at('shared/.env'), 'x', 0o600);
    expect((await stat(root.at('shared/.env'))).gid).toBe(4_242);
  });
});
