import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { AGENT, baseEnvironment } from '../agent/agent.ts';
import { eventually } from '../eventually.ts';

/** A PM2 daemon that is not the agent's own, as systemd's unit starts it: for agents with `pm2.mode: external`. */
export async function startExternalPm2(root: string): Promise<ChildProcess> {
  const home = join(root, 'state/pm2');
  await mkdir(home, { recursive: true, mode: 0o700 });
  const daemon = spawn(process.execPath, [AGENT, '__pm2-daemon'], {
    env: { PATH: baseEnvironment()['PATH'], PM2_HOME: home },
    stdio: 'ignore',
  });
  await eventually('the PM2 daemon is there', async () => (await readFile(join(home, 'pm2.pid'), 'utf8')) === String(daemon.pid));
  return daemon;
}

/** With what it hosts. */
export async function endExternalPm2(daemon: ChildProcess): Promise<void> {
  if (daemon.exitCode !== null || daemon.signalCode !== null) return;
  daemon.kill('SIGTERM');
  await once(daemon, 'exit');
}
