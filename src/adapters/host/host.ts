import { randomUUID } from 'node:crypto';
import { chmod, chown, constants, copyFile, mkdir, open, rename, rm, rmdir } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { AgentError } from '../../domain/errors/errors.ts';
import { groupaddArguments, useraddArguments } from '../../domain/host/accounts.ts';
import type { HostAction, HostRights } from '../../domain/host/host.ts';
import type { HostSystem } from '../../ports/host.ts';
import type { Shell } from '../../ports/shell.ts';
import { errorCode, writeFault } from '../files/errors.ts';
import { createShell } from '../shell/shell.ts';
import { hostFacts } from './facts.ts';

/** Where programs of the system are, whatever PATH says; nothing below /usr/local, which is for everybody's own. */
export const SYSTEM_PATH = '/usr/sbin:/usr/bin:/sbin:/bin';
const ACCOUNT_MS = 60_000;
/** A stop waits for running jobs, as the unit allows; systemd ends it by itself. */
const SERVICE_MS = 1_800_000;

/** The operating system of this machine. Linux with the tools of Debian's `passwd` package. */
export function createHostSystem(shell: Shell = createShell({ path: SYSTEM_PATH })): HostSystem {
  const run = async (name: string, args: readonly string[], timeoutMs = ACCOUNT_MS): Promise<string> => {
    const file = await shell.which(name);
    if (file === null) throw new AgentError('SYSTEM_TOOL_MISSING', `${name} was not found in ${SYSTEM_PATH.replaceAll(':', ', ')}`);
    const { exitCode, stdout, tail, timedOut } = await shell.run(file, args, { timeoutMs });
    if (exitCode === 0) return stdout;
    throw new AgentError(
      'COMMAND_FAILED',
      `\`${[name, ...args].join(' ')}\` ${timedOut ? 'did not end in time' : `failed (exit ${exitCode ?? 'by a signal'})`}${tail.trim() === '' ? '' : `: ${tail.trim()}`}`,
      name === 'systemctl' ? { help: 'see `journalctl -u comfylet -u comfylet-pm2 -n 50`' } : {},
    );
  };
  const idOf = async (database: 'passwd' | 'group', name: string): Promise<number> =>
    name === 'root' ? 0 : Number((await run('getent', [database, name])).split(':')[2]);
  const owners = async ({ owner, group }: HostRights): Promise<{ readonly uid: number; readonly gid: number }> => ({
    uid: await idOf('passwd', owner),
    gid: await idOf('group', group),
  });
  return {
    facts: (question) => hostFacts(question, shell, (name) => shell.which(name)),
    carryOut: async (action) => {
      switch (action.do) {
        case 'add-group':
        case 'add-user':
        case 'add-member':
        case 'remove-user':
          return changeAccount(action, run);
        case 'reload-units':
          await run('systemctl', ['daemon-reload']);
          return;
        case 'enable':
        case 'disable':
        case 'start':
        case 'stop':
        case 'restart':
          await run('systemctl', [action.do, ...action.units], SERVICE_MS);
          return;
        case 'give-tree': {
          const chown = ['--recursive', '--no-dereference'];
          await run('chown', [...chown, `--from=${action.from.uid}`, action.user, '--', action.path], SERVICE_MS);
          await run('chown', [...chown, `--from=:${action.from.gid}`, `:${action.group}`, '--', action.path], SERVICE_MS);
          return;
        }
        case 'remove-tree':
          await run('rm', ['-rf', '--one-file-system', '--preserve-root=all', '--', action.path], SERVICE_MS);
          return;
        default:
          try {
            await changeFile(action, owners);
          } catch (error) {
            if (errorCode(error) === 'EROFS')
              throw new AgentError('PREFIX_NOT_WRITABLE', `${action.path} could not be written: the filesystem is read-only`, {
                cause: error,
              });
            throw writeFault(error, action.path);
          }
      }
    },
  };
}

async function changeAccount(
  action: Extract<HostAction, { readonly do: 'add-group' | 'add-user' | 'add-member' | 'remove-user' }>,
  run: (name: string, args: readonly string[]) => Promise<string>,
): Promise<void> {
  const isThere = (database: string, name: string): Promise<boolean> =>
    run('getent', [database, name]).then(
      () => true,
      () => false,
    );
  switch (action.do) {
    case 'add-group':
      if (!(await isThere('group', action.name))) await run('groupadd', groupaddArguments(action));
      return;
    case 'add-user':
      if (!(await isThere('passwd', action.name))) await run('useradd', useraddArguments(action));
      return;
    case 'add-member':
      await run('usermod', ['--append', '--groups', action.group, action.user]);
      return;
    case 'remove-user':
      if (await isThere('passwd', action.name)) await run('userdel', [action.name]);
  }
}

type FileAction = Extract<
  HostAction,
  { readonly do: 'make-directory' | 'set-rights' | 'write-file' | 'copy-file' | 'remove-file' | 'remove-empty' }
>;

async function changeFile(
  action: FileAction,
  owners: (rights: HostRights) => Promise<{ readonly uid: number; readonly gid: number }>,
): Promise<void> {
  const { path } = action;
  if (action.do === 'remove-file') return rm(path, { force: true });
  if (action.do === 'remove-empty') {
    await rmdir(path).catch((error: unknown) => {
      if (!['ENOTEMPTY', 'EEXIST', 'ENOENT', 'EBUSY'].includes(errorCode(error) ?? '')) throw error;
    });
    return;
  }
  const { uid, gid } = await owners(action.rights);
  const { mode } = action.rights;
  if (action.do === 'make-directory' || action.do === 'set-rights') {
    if (action.do === 'make-directory')
      await mkdir(path, { mode: 0o700 }).catch((error: unknown) => {
        if (errorCode(error) !== 'EEXIST') throw error;
      });
    // In this order: a change of owner takes setuid and setgid away.
    await chown(path, uid, gid);
    await chmod(path, mode);
    return;
  }
  const fresh = join(dirname(path), `.${randomUUID()}.new`);
  try {
    if (action.do === 'copy-file') await copyFile(action.from, fresh, constants.COPYFILE_EXCL | constants.COPYFILE_FICLONE);
    const file = await open(fresh, action.do === 'copy-file' ? 'r+' : 'wx', 0o600);
    try {
      if (action.do === 'write-file') await file.writeFile(action.content);
      await file.chown(uid, gid);
      await file.chmod(mode);
      await file.sync();
    } finally {
      await file.close();
    }
    // A program that runs from the old file keeps it.
    await rename(fresh, path);
  } catch (error) {
    await rm(fresh, { force: true });
    throw error;
  }
}
