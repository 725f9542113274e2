import { createHash, randomUUID } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { lstat, open, readFile, realpath, rm, symlink } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { pipeline } from 'node:stream/promises';
import type { HostFacts, HostGroup, HostPath, HostPlace, HostQuestion, HostUnit, HostUser } from '../../domain/host/host.ts';
import type { Shell } from '../../ports/shell.ts';
import { errorCode, isAbsent } from '../files/errors.ts';

const HEAD_BYTES = 512;
const ASK_MS = 10_000;

/** Looks at users, files, units and filesystems. `tool` answers with the absolute path of a program of the system. */
export async function hostFacts(question: HostQuestion, shell: Shell, tool: (name: string) => Promise<string | null>): Promise<HostFacts> {
  const getent = await tool('getent');
  const systemctl = await tool('systemctl');
  const hasSystemd = systemctl !== null && (await isDirectory('/run/systemd/system'));
  const ask = async (database: string, keys: readonly string[]): Promise<string[][]> => {
    if (getent === null || keys.length === 0) return [];
    const { stdout } = await shell.run(getent, [database, ...keys], { timeoutMs: ASK_MS });
    return stdout.split('\n').flatMap((line) => (line === '' ? [] : [line.split(':')]));
  };
  const found = await byKey(question.paths, lookAt);
  const present = Object.values(found).filter((path) => path !== null);
  const [passwd, group, tools, places, units, container] = await Promise.all([
    ask('passwd', [...question.users, ...new Set(present.map(({ uid }) => String(uid)))]),
    ask('group', [...question.groups, ...new Set(present.map(({ gid }) => String(gid)))]),
    byKey(question.tools, tool),
    byKey(question.places, placeOf),
    unitsOf(question.units, { shell, systemctl, hasSystemd }),
    containerKind(),
  ]);
  const isKnown = (rows: readonly string[][], id: number): boolean => rows.some((row) => Number(row[2]) === id);
  return {
    isRoot: process.geteuid?.() === 0,
    hasSystemd,
    container,
    users: Object.fromEntries(question.users.map((name) => [name, userOf(passwd, name)])),
    groups: Object.fromEntries(question.groups.map((name) => [name, groupOf(group, name)])),
    paths: Object.fromEntries(
      Object.entries(found).map(([path, facts]) => [
        path,
        facts === null ? null : { ...facts, hasOwner: isKnown(passwd, facts.uid), hasGroup: isKnown(group, facts.gid) },
      ]),
    ),
    units,
    places,
    tools,
  };
}

async function byKey<T>(keys: readonly string[], of: (key: string) => Promise<T>): Promise<Record<string, T>> {
  return Object.fromEntries(await Promise.all(keys.map(async (key) => [key, await of(key)] as const)));
}

function userOf(rows: readonly string[][], name: string): HostUser | null {
  const row = rows.find(([candidate]) => candidate === name);
  return row === undefined ? null : { uid: Number(row[2]), gid: Number(row[3]), comment: row[4] ?? '' };
}

function groupOf(rows: readonly string[][], name: string): HostGroup | null {
  const row = rows.find(([candidate]) => candidate === name);
  return row === undefined ? null : { gid: Number(row[2]), members: (row[3] ?? '').split(',').filter((member) => member !== '') };
}

async function lookAt(path: string): Promise<Omit<HostPath, 'hasOwner' | 'hasGroup'> | null> {
  try {
    const stat = await lstat(path);
    const kind = stat.isFile() ? 'file' : stat.isDirectory() ? 'directory' : stat.isSymbolicLink() ? 'link' : 'other';
    const isFile = kind === 'file';
    return {
      kind,
      uid: stat.uid,
      gid: stat.gid,
      mode: stat.mode & 0o7777,
      sha256: isFile ? await digest(path) : null,
      head: isFile ? await head(path) : null,
    };
  } catch (error) {
    if (isAbsent(error) || errorCode(error) === 'EACCES') return null;
    throw error;
  }
}

async function digest(path: string): Promise<string> {
  const hash = createHash('sha256');
  await pipeline(createReadStream(path, { highWaterMark: 1024 * 1024 }), hash);
  return hash.digest('hex');
}

async function head(path: string): Promise<string> {
  const file = await open(path, 'r');
  try {
    const { bytesRead, buffer } = await file.read(Buffer.alloc(HEAD_BYTES), 0, HEAD_BYTES, 0);
    return buffer.toString('latin1', 0, bytesRead);
  } finally {
    await file.close();
  }
}

async function nearestDirectory(path: string): Promise<string> {
  for (let directory = path; directory !== '/'; directory = dirname(directory)) if (await isDirectory(directory)) return directory;
  return '/';
}

async function isDirectory(path: string): Promise<boolean> {
  return realpath(path).then(
    async (real) => (await lstat(real)).isDirectory(),
    () => false,
  );
}

async function placeOf(path: string): Promise<HostPlace> {
  const directory = await realpath(await nearestDirectory(path));
  const mount = mountOf(await readFile('/proc/self/mountinfo', 'utf8'), directory);
  const links = await tryLink(directory);
  return {
    filesystem: mount.filesystem,
    isMountPoint: mount.at === (await realpath(path).catch(() => null)),
    isReadOnly: links === 'EROFS',
    takesLinks:
      links === 'made' ? true : links === 'EPERM' || links === 'EOPNOTSUPP' || links === 'ENOTSUP' || links === 'ENOSYS' ? false : null,
  };
}

/** The last mount whose directory the path is in: a later one covers those before. */
function mountOf(mountinfo: string, path: string): { readonly at: string; readonly filesystem: string } {
  const mounts = mountinfo.split('\n').flatMap((line) => {
    const fields = line.split(' ');
    const at = fields[4]?.replaceAll(/\\(\d{3})/g, (_, digits: string) => String.fromCharCode(Number.parseInt(digits, 8)));
    const filesystem = fields[fields.indexOf('-') + 1];
    const isAbove = at !== undefined && (at === '/' || path === at || path.startsWith(`${at}/`));
    return isAbove && filesystem !== undefined ? [{ at, filesystem }] : [];
  });
  return mounts.toSorted((a, b) => a.at.length - b.at.length).at(-1) ?? { at: '/', filesystem: 'unknown' };
}

/** @returns 'made', or why not; nothing stays behind */
async function tryLink(directory: string): Promise<string> {
  const trial = join(directory, `.agent-setup-${randomUUID()}`);
  try {
    await symlink('nowhere', trial);
    await rm(trial, { force: true });
    return 'made';
  } catch (error) {
    return errorCode(error) ?? 'unknown';
  }
}

async function unitsOf(
  names: readonly string[],
  { shell, systemctl, hasSystemd }: { readonly shell: Shell; readonly systemctl: string | null; readonly hasSystemd: boolean },
): Promise<Record<string, HostUnit>> {
  const ask = async (...args: readonly string[]): Promise<string> =>
    systemctl === null || names.length === 0 ? '' : (await shell.run(systemctl, args, { timeoutMs: ASK_MS })).stdout;
  const [files, told] = await Promise.all([
    // Answers from the files alone, also where systemd does not run; only those that are there.
    ask('list-unit-files', '--plain', '--no-legend', ...names).then((text) => text.split('\n')),
    hasSystemd ? ask('show', '--property=ActiveState,NeedDaemonReload', ...names).then((text) => text.split('\n\n')) : [],
  ]);
  return Object.fromEntries(
    names.map((name, index) => [
      name,
      {
        isEnabled: systemctl === null ? null : files.some((line) => line.split(/\s+/)[0] === name && line.split(/\s+/)[1] === 'enabled'),
        isActive: hasSystemd ? /^ActiveState=(active|activating|reloading)$/m.test(told[index] ?? '') : null,
        needsReload: /^NeedDaemonReload=yes$/m.test(told[index] ?? ''),
      },
    ]),
  );
}

/** As systemd and the container tools tell it. */
async function containerKind(): Promise<string | null> {
  const told = await readFile('/run/systemd/container', 'utf8').catch(() => '');
  if (told.trim() !== '') return told.trim();
  const environment = await readFile('/proc/1/environ', 'latin1').catch(() => '');
  const named = environment
    .split('\0')
    .find((entry) => entry.startsWith('container='))
    ?.slice('container='.length);
  if (named !== undefined && named !== '') return named;
  const exists = (path: string): Promise<boolean> =>
    lstat(path).then(
      () => true,
      () => false,
    );
  return (await exists('/.dockerenv')) ? 'docker' : (await exists('/run/.containerenv')) ? 'podman' : null;
}
