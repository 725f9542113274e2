import { appendFileSync, chmodSync, existsSync, readFileSync, writeFileSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { eventually } from '../eventually.ts';
import { makeSshKey } from '../host/sshd.ts';
import type { SystemdMachine } from './machine.ts';

/** A real sshd as a service of a machine with systemd, which has a network of its own: ssh gets there through its namespace. */

export interface MachineOverSsh {
  /** Entry of ssh_config by which it is reached as root. */
  entry(name: string, options?: { readonly knownHosts?: string }): string;
  readonly knownHosts: string;
}

const CONFIG = `Port 22
ListenAddress 127.0.0.1
HostKey /etc/test-ssh/host
AuthorizedKeysFile /etc/test-ssh/authorized
PidFile none
StrictModes no
UsePAM no
PasswordAuthentication no
KbdInteractiveAuthentication no
PermitRootLogin prohibit-password
LogLevel ERROR
`;
const UNIT = `[Service]
ExecStart=/usr/sbin/sshd -D -e -f /etc/test-ssh/config
RuntimeDirectory=sshd
`;
/** Between the standard streams and port 22, in the network that it is run in. */
const RELAY = 'exec 3<>/dev/tcp/127.0.0.1/22; cat <&3 & cat >&3; kill $! 2>/dev/null';

/** Why there can be no such server here; null: there can. */
export function whyNoSshd(): string | null {
  for (const file of ['/usr/sbin/sshd', '/usr/bin/ssh', '/usr/bin/ssh-keygen'])
    if (!existsSync(file)) return `${file} is missing (Debian packages openssh-server, openssh-client)`;
  return null;
}

/** Starts sshd in the machine. Keys lie in `directory`, which is this test's. */
export async function serveSsh(machine: SystemdMachine, directory: string): Promise<MachineOverSsh> {
  const [key, host] = await Promise.all([makeSshKey(directory, 'key'), makeSshKey(directory, 'host')]);
  await machine.write('/etc/test-ssh/config', CONFIG);
  await machine.write('/etc/test-ssh/host', await readFile(host, 'utf8'), 0o600);
  await machine.write('/etc/test-ssh/authorized', await readFile(`${key}.pub`, 'utf8'));
  await machine.write('/etc/systemd/system/test-sshd.service', UNIT);
  if (!/^sshd:/m.test(readFileSync(machine.at('/etc/passwd'), 'utf8')))
    appendFileSync(machine.at('/etc/passwd'), 'sshd:x:64892:65534::/run/sshd:/usr/sbin/nologin\n');
  await machine.must('systemctl', 'daemon-reload');
  await machine.must('systemctl', 'start', 'test-sshd');
  await eventually('sshd listens', async () => (await machine.run(['bash', '-c', ': <>/dev/tcp/127.0.0.1/22'])).code === 0);
  const knownHosts = `${directory}/known_hosts`;
  const [type, text] = (await readFile(`${host}.pub`, 'utf8')).split(' ');
  const alias = `machine-${machine.pid()}`;
  writeFileSync(knownHosts, `${alias} ${type} ${text}\n`);
  const relay = `${directory}/relay`;
  writeFileSync(relay, `#!/bin/bash\n${RELAY}\n`);
  chmodSync(relay, 0o755);
  return {
    knownHosts,
    entry: (name, options = {}) =>
      [
        `Host ${name}`,
        '  User root',
        `  HostKeyAlias ${alias}`,
        `  ProxyCommand nsenter --target ${machine.pid()} --net ${relay}`,
        `  IdentityFile ${key}`,
        '  IdentitiesOnly yes',
        `  UserKnownHostsFile ${options.knownHosts ?? knownHosts}`,
        '  GlobalKnownHostsFile /dev/null',
        '',
      ].join('\n'),
  };
}
