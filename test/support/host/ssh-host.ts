import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { chmod, mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { eventually } from '../eventually.ts';
import { accepts, closedPort, endGroup } from '../git/servers.ts';
import { makeSshKey } from './sshd.ts';

/** Hosts with accounts of their own, in namespaces of this machine, that are reached by a real ssh. */

const DIST = resolve(import.meta.dirname, '../../../dist');
const SCRIPT = join(import.meta.dirname, 'ssh-host.sh');

export interface HostAccount {
  readonly name: string;
  readonly uid: number;
  readonly groups?: readonly string[];
}

export interface Finished {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** A command that runs, with what it said so far. */
export interface Running {
  readonly child: ChildProcess;
  readonly output: () => string;
  readonly finished: Promise<Finished>;
}

export interface SshHost {
  readonly port: number;
  readonly work: string;
  /** Options of ssh for this host: its port, the key, and a file with its host key. */
  readonly sshOptions: readonly string[];
  /** `ssh account@host command`, without a terminal unless `tty`. */
  ssh(account: string, command: string, options?: { readonly tty?: boolean }): Running;
  /** As root, in the host. */
  inside(command: string): Promise<Finished>;
  startInside(command: string): Running;
  /** Command lines of all processes of the host. */
  processes(): Promise<readonly string[]>;
  close(): Promise<void>;
}

/** Why there can be no such host here; null when there can. */
export function noSshHost(): string | null {
  if (process.getuid?.() !== 0) return 'only root makes namespaces with accounts';
  for (const file of ['/usr/sbin/sshd', '/usr/bin/ssh', '/usr/bin/ssh-keygen', '/usr/bin/nsenter', '/usr/bin/setpriv'])
    if (!existsSync(file)) return `${file} is missing (Debian packages openssh-server, openssh-client, util-linux)`;
  const probe = spawnSync('unshare', ['--mount', '--pid', '--fork', '--propagation', 'private', 'mount', '-t', 'tmpfs', 'none', '/srv']);
  return probe.status === 0 ? null : 'this container may not make mount and PID namespaces';
}

/** Starts the command and gathers what it says. */
export function start(file: string, args: readonly string[]): Running {
  const child = spawn(file, [...args], { stdio: ['pipe', 'pipe', 'pipe'], detached: true });
  let stdout = '';
  let stderr = '';
  child.stdout?.on('data', (chunk) => (stdout += String(chunk)));
  child.stderr?.on('data', (chunk) => (stderr += String(chunk)));
  const finished = new Promise<Finished>((done, failed) => {
    child.once('error', failed);
    child.once('close', (code) => done({ code, stdout, stderr }));
  });
  return { child, output: () => stdout + stderr, finished };
}

export async function startSshHost(accounts: readonly HostAccount[], environment: Readonly<Record<string, string>> = {}): Promise<SshHost> {
  const work = await mkdtemp(join(tmpdir(), 'agent-ssh-'));
  await chmod(work, 0o711);
  await mkdir(join(work, 'mount'));
  const key = await makeSshKey(work, 'key');
  const hostKey = await makeSshKey(work, 'host');
  const port = await closedPort();
  await writeFile(
    join(work, 'sshd_config'),
    [
      `Port ${port}`,
      'ListenAddress 127.0.0.1',
      `HostKey ${hostKey}`,
      'AuthorizedKeysFile /etc/test-keys/%u',
      'PidFile none',
      'StrictModes no',
      'UsePAM no',
      'PasswordAuthentication no',
      'KbdInteractiveAuthentication no',
      'PermitRootLogin prohibit-password',
      'LogLevel ERROR',
      '',
    ].join('\n'),
  );
  const [type, text] = (await readFile(`${hostKey}.pub`, 'utf8')).split(' ');
  await writeFile(join(work, 'known_hosts'), `[127.0.0.1]:${port} ${type} ${text}\n`);
  const list = accounts.map(({ name, uid, groups = [] }) => `${name}:${uid}:${groups.join(',')}`);
  const namespaces = ['--mount', '--pid', '--fork', '--kill-child', '--mount-proc', '--propagation', 'private'];
  const holder = start('unshare', [...namespaces, 'bash', SCRIPT, work, process.execPath, DIST, ...list]);
  const close = async (): Promise<void> => {
    await endGroup(holder.child);
    await rm(work, { recursive: true, force: true });
  };
  try {
    await eventually('sshd listens', async () => {
      if (holder.child.exitCode !== null) throw new Error(holder.output());
      return existsSync(join(work, 'ready')) && (await accepts(port));
    });
    // sshd is the first process of the namespaces.
    const pid = (await readFile(`/proc/${holder.child.pid}/task/${holder.child.pid}/children`, 'utf8')).trim();
    return await describeHost({ work, port, key, pid, environment, close });
  } catch (error) {
    await close();
    throw error;
  }
}

async function describeHost(parts: {
  readonly work: string;
  readonly port: number;
  readonly key: string;
  readonly pid: string;
  readonly environment: Readonly<Record<string, string>>;
  readonly close: () => Promise<void>;
}): Promise<SshHost> {
  const { work, port, key, pid } = parts;
  const sshOptions = [
    ...['-F', '/dev/null', '-p', String(port), '-i', key, '-o', `UserKnownHostsFile=${join(work, 'known_hosts')}`],
    ...['-o', 'BatchMode=yes', '-o', 'IdentitiesOnly=yes', '-o', 'StrictHostKeyChecking=yes', '-o', 'GlobalKnownHostsFile=/dev/null'],
  ];
  const startInside: SshHost['startInside'] = (command) =>
    start('nsenter', [
      '-t',
      pid,
      '-m',
      '-p',
      '-r',
      '-w',
      'env',
      '-i',
      'PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin',
      'bash',
      '--norc',
      '-c',
      command,
    ]);
  const inside: SshHost['inside'] = async (command) => startInside(command).finished;
  const binary = process.env['AGENT_BINARY'];
  const program = binary === undefined ? 'exec /srv/program/node /srv/program/dist/agent.cjs "$@"' : 'exec /srv/program/agent "$@"';
  const copy = binary === undefined ? 'true' : `install -m 0755 /proc/1/root${resolve(binary)} /srv/program/agent`;
  const made = await inside(`${copy} && printf '%s\\n' '#!/bin/sh' '${program}' > /usr/local/bin/agent && chmod 0755 /usr/local/bin/agent`);
  if (made.code !== 0) throw new Error(made.stderr);
  return {
    port,
    work,
    sshOptions,
    startInside,
    inside,
    ssh: (account, command, { tty = false } = {}) =>
      start('ssh', [...sshOptions, ...(tty ? ['-tt'] : ['-T']), `${account}@127.0.0.1`, command]),
    processes: async () => {
      const { stdout } = await inside('for each in /proc/[0-9]*; do tr "\\0" " " < $each/cmdline 2>/dev/null && echo; done; true');
      return stdout.split('\n').filter((line) => line.trim() !== '');
    },
    close: parts.close,
  };
}
