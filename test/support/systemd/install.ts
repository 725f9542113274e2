import { chmodSync, chownSync, mkdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { readdir, rm } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { type MachineCards, putInto } from '../agent/cards.ts';

/** What is put into the root of a systemd-machine before its first boot. */

const REPOSITORY = resolve(import.meta.dirname, '../../..');
const UNITS = ['comfylet-pm2.service', 'comfylet.service'];

/** Where the bundle and its Node are shown inside, when no built binary is given. */
export const OPT = '/opt/comfylet-test';

export interface MachineOptions {
  /** Its driver; what its agent is to be told of mock cards stands in the agent's environment. */
  readonly cards?: MachineCards;
  /** A single executable to be copied into it, which can be replaced there; else that of $AGENT_BINARY or the bundle is shown in it. */
  readonly program?: string;
  /** Contents by path, written before the first boot. */
  readonly files?: Readonly<Record<string, string>>;
  /** User and mode of some of their paths; else root's, for everybody to read. The group is the user's, below the root comfyui. */
  readonly owners?: Readonly<Record<string, readonly [user: string, mode: number]>>;
}

/** What an installation makes: users with a group each, and who else is in it. */
const USERS = [
  { name: 'comfylet', id: 64_890, members: '' },
  { name: 'comfyui', id: 64_891, members: 'comfylet' },
];

/** Services that would change the kernel, which the machine shares with its host. */
const OF_THE_KERNEL = [
  'systemd-timesyncd.service',
  'systemd-udevd.service',
  'systemd-udev-trigger.service',
  'systemd-random-seed.service',
  'systemd-remount-fs.service',
  'systemd-modules-load.service',
  'systemd-sysctl.service',
  'dev-hugepages.mount',
  'dev-mqueue.mount',
  'sys-kernel-debug.mount',
  'sys-kernel-tracing.mount',
  'sys-fs-fuse-connections.mount',
  'proc-sys-fs-binfmt_misc.automount',
];

/** Services of the host that have no business in a test machine. */
const NOT_WANTED = [
  // It empties /tmp and changes modes in the overlay.
  'systemd-tmpfiles-setup.service',
  'systemd-tmpfiles-setup-dev.service',
  'systemd-tmpfiles-clean.timer',
  'systemd-networkd.service',
  'systemd-networkd-wait-online.service',
  'NetworkManager-wait-online.service',
  'systemd-resolved.service',
];

type Write = (path: string, text: string, mode?: number) => Promise<void>;

async function mask(units: readonly string[], at: (path: string) => string, write: Write): Promise<void> {
  for (const name of units) {
    rmSync(at(`/etc/systemd/system/${name}`), { force: true });
    await write(`/etc/systemd/system/${name}`, '');
  }
}

/** What every such machine needs, whoever made its root. */
export const spareTheKernel = (at: (path: string) => string, write: Write): Promise<void> => mask(OF_THE_KERNEL, at, write);

const TARGET = `[Unit]
Description=A machine of a test
Requires=basic.target
After=basic.target
AllowIsolate=yes
`;

/** As an installation does it: users, units, the program, the root; and only what a test machine needs of the host's services. */
export async function installUnits(
  at: (path: string) => string,
  write: Write,
  hasBinary: boolean,
  { cards, files = {}, owners = {} }: MachineOptions,
): Promise<void> {
  if (!hasBinary) await write('/usr/local/bin/agent', `#!/bin/sh\nexec ${OPT}/node ${OPT}/dist/agent.cjs "$@"\n`, 0o755);
  for (const name of [...UNITS, 'comfylet.path'])
    await write(`/etc/systemd/system/${name}`, readFileSync(join(REPOSITORY, 'systemd', name), 'utf8'));
  await write('/etc/systemd/system/agent-test.target', TARGET);
  await spareTheKernel(at, write);
  await mask(NOT_WANTED, at, write);
  // What the host has enabled for a boot is not for this one.
  for (const directory of await readdir(at('/etc/systemd/system')))
    if (/^(basic|sysinit|sockets|timers|local-fs|remote-fs|network-online)\.target\.wants$/.test(directory))
      await rm(at(`/etc/systemd/system/${directory}`), { recursive: true });
  await write('/etc/fstab', '');
  await write('/etc/machine-id', `${'0123456789abcdef'.repeat(2)}\n`);
  const append = (path: string, lines: readonly string[]): void =>
    writeFileSync(at(path), `${readFileSync(at(path), 'utf8').trimEnd()}\n${lines.join('\n')}\n`);
  append(
    '/etc/passwd',
    USERS.map(({ name, id }) => `${name}:x:${id}:${id}::/var/lib/${name}:/usr/sbin/nologin`),
  );
  append(
    '/etc/group',
    USERS.map(({ name, id, members }) => `${name}:x:${id}:${members}`),
  );
  mkdirSync(at('/workspace'), { mode: 0o755 });
  chownSync(at('/workspace'), 64_890, 64_891);
  // What is made below belongs to the group comfyui; only the agent makes something at the top.
  chmodSync(at('/workspace'), 0o2755);
  // As `systemctl enable` does for the target that machines boot to.
  mkdirSync(at('/etc/systemd/system/agent-test.target.wants'));
  for (const unit of UNITS) symlinkSync(`../${unit}`, at(`/etc/systemd/system/agent-test.target.wants/${unit}`));
  if (cards !== undefined) await putInto(at, cards);
  for (const [path, text] of Object.entries(files)) await write(path, text);
  for (const [path, [user, mode]] of Object.entries(owners)) {
    const id = USERS.find(({ name }) => name === user)?.id ?? 0;
    chownSync(at(path), id, path.startsWith('/workspace') ? 64_891 : id);
    chmodSync(at(path), mode);
  }
}
