import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { endDaemon, lockName } from '../../../src/adapters/pm2/identity.ts';

/**
 * Holds the lock as a process does that is ending: the socket is there and no file of anybody shows it. Here it is on its way
 * through another socket. Lets go after the seconds given.
 */
const HOLDER = `
import array, socket, sys, time
lock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
lock.bind('\\0' + sys.argv[1])
lock.listen()
ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
ours.sendmsg([b'x'], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array('i', [lock.fileno()]))])
lock.close()
print('held', flush=True)
time.sleep(float(sys.argv[2]))
`;

let home: string;
let holder: ChildProcess;
beforeEach(async () => {
  home = await mkdtemp(join(tmpdir(), 'agent-pm2-home-'));
});
afterEach(async () => {
  holder.kill('SIGKILL');
  // The next home may get the inode of this one, and with it the name of its lock.
  if (holder.exitCode === null && holder.signalCode === null) await once(holder, 'exit');
  await rm(home, { recursive: true });
});

async function holdFor(seconds: number): Promise<void> {
  const started = spawn('python3', ['-c', HOLDER, lockName(home), String(seconds)], { stdio: ['ignore', 'pipe', 'inherit'] });
  holder = started;
  await once(started.stdout, 'data');
}

describe('the lock of a PM2 home whose holder cannot be seen', () => {
  it('is waited for: its daemon is ending', async () => {
    await holdFor(0.5);
    expect(await endDaemon(home)).toBeNull();
    if (holder.exitCode === null) await once(holder, 'exit');
    expect(holder.exitCode).toBe(0);
  });

  it('is left alone when it stays', async () => {
    await holdFor(60);
    await expect(endDaemon(home)).rejects.toMatchObject({ code: 'PM2_UNAVAILABLE', message: expect.stringContaining('cannot be seen') });
    expect(holder.exitCode ?? holder.signalCode).toBeNull();
  });
});
