import { spawn } from 'node:child_process';
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { endOrphans, findOrphans, unitGroup } from '../../../src/adapters/kernel/orphans.ts';
import { createShell } from '../../../src/adapters/shell/shell.ts';
import { type TempRoot, tempRoot } from '../../support/temp-root.ts';

const UNIT = '/system.slice/comfylet.service';
const OWN = `1:name=systemd:${UNIT}`;

describe('of a /proc as it could be', () => {
  let root: TempRoot;
  beforeEach(async () => {
    root = await tempRoot();
  });
  afterEach(() => root.remove());
  const process_ = async (pid: number | 'self', parent: number, change: { cgroup?: string; uids?: string; state?: string } = {}) => {
    await mkdir(root.at(String(pid)));
    await writeFile(root.at(String(pid), 'cgroup'), change.cgroup ?? `12:pids:/x\n${OWN}\n0::/other\n`);
    await writeFile(root.at(String(pid), 'status'), `Name:\tx\nUid:\t${change.uids ?? '990\t990\t990\t990'}\nGid:\t1\t1\t1\t1\n`);
    await writeFile(root.at(String(pid), 'stat'), `${pid} (p${pid}) ${change.state ?? 'S'} ${parent} ${'0 '.repeat(17)}77 0 0`);
  };
  const found = async (group = OWN) => (await findOrphans({ uid: 990, group, self: 10, procRoot: root.path })).map(({ pid }) => pid);

  it('counts who is in the unit, of that user, and no longer below the agent', async () => {
    await process_(10, 1, { uids: '5\t5\t5\t5' });
    await process_(11, 10);
    await process_(12, 11);
    await process_(20, 1);
    await process_(21, 20);
    await process_(22, 1, { uids: '5\t990\t5\t5' });
    await process_(30, 1, { uids: '5\t5\t5\t5' });
    await process_(31, 1, { cgroup: '1:name=systemd:/system.slice/comfylet-pm2.service\n' });
    await process_(32, 1, { cgroup: `1:name=systemd:${UNIT}/x\n` });
    await process_(33, 1, { state: 'Z' });
    await process_(34, 1, { cgroup: `0::${UNIT}\n` });
    expect(await found()).toEqual([20, 21, 22]);
    expect(await found(`0::${UNIT}`)).toEqual([34]);
  });

  it.each([
    ['of version 1', `12:pids:/x\n${OWN}\n0::/\n`, OWN],
    ['of version 2', `0::${UNIT}\n`, `0::${UNIT}`],
    ['of version 2 beside an unused one of systemd', `1:name=systemd:/\n0::${UNIT}\n`, `0::${UNIT}`],
    ['of another unit', '0::/system.slice/comfylet-pm2.service\n', null],
    ['of a session', '0::/user.slice/user-0.slice/session-1.scope\n', null],
    ['below the unit', `0::${UNIT}/x\n`, null],
    ['that is not told', '', null],
  ])('a control group %s', async (_, cgroup, expected) => {
    await process_('self', 1, { cgroup });
    expect(unitGroup('comfylet.service', root.path)).toBe(expected);
  });
});

/** Its numbers belong to nobody else. */
const OTHER = 61_234;
const why = process.getuid?.() === 0 ? null : 'not root';

describe.skipIf(why !== null)('on this machine, with another user', () => {
  const as = ['/usr/bin/setpriv', '--reuid', String(OTHER), '--regid', String(OTHER), '--clear-groups', '--'];
  /** Forks twice and tells the number of the daemon, which then does what `script` says. */
  const daemon = (script: string): string => `
import os, signal, sys, time
if os.fork() == 0:
    os.setsid()
    pid = os.fork()
    if pid == 0:
        os.closerange(0, 64)
        ${script}
    print(pid, flush=True)
    os._exit(0)
os.wait()
`;
  const stateOf = async (pid: string): Promise<string> => {
    const text = await readFile(`/proc/${Number(pid)}/stat`, 'utf8').catch(() => ') Z');
    return text.slice(text.lastIndexOf(')') + 2, text.lastIndexOf(')') + 3);
  };
  const ended = ['', 'Z'];
  const ownGroup = async (): Promise<string> => {
    const lines = (await readFile('/proc/self/cgroup', 'utf8')).split('\n');
    return lines.find((line) => line.includes(':name=systemd:')) ?? lines.find((line) => line.startsWith('0::')) ?? '';
  };
  const shell = async () => {
    const group = await ownGroup();
    const endOthers = async (isWanted: () => boolean) => void (await endOrphans({ uid: OTHER, group }, isWanted));
    return createShell({ path: '/usr/bin:/bin', prefix: as, endsDaemons: true, endOthers });
  };

  it.each([
    ['with another environment', "os.execve('/bin/sleep', ['sleep', '1000'], {})"],
    [
      'whose files in /proc are closed to its own user',
      "os.execve('/usr/bin/python3', ['x', '-c', 'import ctypes, time; ctypes.CDLL(None).prctl(4, 0); time.sleep(1000)'], {})",
    ],
    [
      'that does not heed SIGTERM',
      "os.execve('/usr/bin/python3', ['x', '-c', 'import signal, time; signal.signal(15, signal.SIG_IGN); time.sleep(1000)'], {})",
    ],
    [
      'that starts others all the time',
      "os.execve('/usr/bin/python3', ['x', '-c', 'import os, signal, time\\nsignal.signal(17, signal.SIG_IGN)\\nwhile True:\\n    os.fork() or (time.sleep(1000), os._exit(0))\\n    time.sleep(0.05)'], {})",
    ],
  ])('a daemon %s ends with the command that left it', async (_, script) => {
    const { stdout, exitCode } = await (await shell()).run('/usr/bin/python3', ['-c', daemon(script)], { timeoutMs: 60_000 });
    expect(exitCode).toBe(0);
    expect(Number(stdout)).toBeGreaterThan(1);
    expect(ended).toContain(await stateOf(stdout));
    expect(await findOrphans({ uid: OTHER, group: await ownGroup() })).toEqual([]);
  });

  it('waits for the last of the commands, and spares what is no leftover', async () => {
    const own = await shell();
    const outside = spawn('/usr/bin/setpriv', ['--reuid', '61235', '--clear-groups', '--', '/bin/sleep', '1000'], { detached: true });
    const child = spawn(as[0] ?? '', [...as.slice(1), '/bin/sleep', '1000'], { detached: true, stdio: 'ignore' });
    const long = own.spawn('/bin/sleep', ['1000']);
    const { stdout } = await own.run('/usr/bin/python3', ['-c', daemon("os.execve('/bin/sleep', ['sleep', '1000'], {})")]);
    expect(await stateOf(stdout)).toBe('S');
    await long.end(1_000);
    expect(ended).toContain(await stateOf(stdout));
    expect([await stateOf(String(child.pid)), await stateOf(String(outside.pid))]).toEqual(['S', 'S']);
    child.kill('SIGKILL');
    outside.kill('SIGKILL');
  });
});
