import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { access, chmod, mkdir, readFile, writeFile } from 'node:fs/promises';
import { userInfo } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { eventually } from '../eventually.ts';
import { accepts, closedPort, endGroup } from '../git/servers.ts';

const execute = promisify(execFile);

/** Makes a key pair; gives the path of the private key. */
export async function makeSshKey(directory: string, name: string): Promise<string> {
  const path = join(directory, name);
  await mkdir(directory, { recursive: true });
  await execute('ssh-keygen', ['-q', '-t', 'ed25519', '-N', '', '-C', name, '-f', path]);
  return path;
}

/** The sshd program, or why no server of ours can be run here. */
export async function findSshd(): Promise<{ path: string } | { skipped: string }> {
  const places = ['/usr/sbin', '/usr/local/sbin', ...(process.env['PATH'] ?? '').split(':')].map((directory) => join(directory, 'sshd'));
  let path: string | null = null;
  for (const place of places)
    path ??= await access(place).then(
      () => place,
      () => null,
    );
  if (path === null) return { skipped: 'no sshd on this machine (Debian package openssh-server)' };
  if (process.getuid?.() === 0) {
    // As root sshd separates privileges, for which it wants its own user and an empty directory.
    if (!/^sshd:/m.test(await readFile('/etc/passwd', 'utf8')))
      return { skipped: 'sshd run by root needs a user "sshd" (Debian package openssh-server makes it)' };
    await mkdir('/run/sshd', { recursive: true, mode: 0o755 });
  }
  return { path };
}

export interface Sshd {
  readonly port: number;
  readonly user: string;
  /** Its line for a known_hosts file. */
  readonly hostKey: string;
  close(): Promise<void>;
}

/** A server on loopback that lets in this user with this key. */
export async function startSshd(sshd: string, directory: string, publicKeyFile: string): Promise<Sshd> {
  await mkdir(directory, { recursive: true, mode: 0o700 });
  const hostKeyFile = await makeSshKey(directory, 'host');
  const port = await closedPort();
  const authorized = join(directory, 'authorized_keys');
  await writeFile(authorized, await readFile(publicKeyFile, 'utf8'));
  await chmod(authorized, 0o600);
  const configFile = join(directory, 'sshd_config');
  await writeFile(
    configFile,
    [
      `Port ${port}`,
      'ListenAddress 127.0.0.1',
      `HostKey ${hostKeyFile}`,
      `AuthorizedKeysFile ${authorized}`,
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
  const child: ChildProcess = spawn(sshd, ['-D', '-e', '-f', configFile], { stdio: ['ignore', 'ignore', 'pipe'], detached: true });
  let said = '';
  child.stderr?.on('data', (chunk: Buffer) => {
    said += chunk.toString('utf8');
  });
  const close = (): Promise<void> => endGroup(child);
  try {
    await eventually('sshd listens', () => {
      if (child.exitCode !== null) throw new Error(said);
      return accepts(port);
    });
  } catch (error) {
    await close();
    throw error;
  }
  const [type, key] = (await readFile(`${hostKeyFile}.pub`, 'utf8')).split(' ');
  return { port, user: userInfo().username, hostKey: `[127.0.0.1]:${port} ${type} ${key}\n`, close };
}
