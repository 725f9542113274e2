import { AGENT_GROUP, accountsIn } from '../../domain/configuration/access.ts';
import { AgentError } from '../../domain/errors/errors.ts';
import type { Border } from '../../domain/files/foreign.ts';
import type { Files } from '../../ports/files.ts';
import type { Shell } from '../../ports/shell.ts';

/** Not looked up on a PATH: that of a Python environment names directories which packs can write to. */
const SETPRIV = '/usr/bin/setpriv';
const LIMIT_MS = 10_000;

/** What stands before a command so that it has none of the rights that systemd gave the agent. */
export const WITHOUT_RIGHTS: readonly string[] = [SETPRIV, '--inh-caps=-all', '--'];

/**
 * What stands before a command so that it runs as this user: with the user's groups, without any right of the agent, and
 * without a way to get more.
 * @throws AgentError CONFIG_INVALID when there is no such user, or the agent may not do that
 */
export async function commandAs(shell: Pick<Shell, 'run'>, user: string): Promise<readonly string[]> {
  const ask = async (file: string, args: readonly string[]): Promise<string> => {
    const { exitCode, stdout, tail } = await shell.run(file, args, { timeoutMs: LIMIT_MS });
    if (exitCode === 0) return stdout.trim();
    throw new AgentError('CONFIG_INVALID', `programs cannot be run as ${user} (users.comfyui): ${tail.trim()}`, {
      help: `create the user, and start the agent by its unit, which gives it the rights for that; or leave users.comfyui out`,
    });
  };
  const [uid, gid] = await Promise.all([ask('/usr/bin/id', ['-u', '--', user]), ask('/usr/bin/id', ['-g', '--', user])]);
  if (uid === '0')
    throw new AgentError('CONFIG_INVALID', `users.comfyui is ${user}, which is root`, { help: 'name a user without rights' });
  const before = [SETPRIV, '--reuid', uid, '--regid', gid, '--init-groups', '--inh-caps=-all', '--no-new-privs', '--'];
  await ask(before[0] ?? '', [...before.slice(1), '/bin/true']);
  return before;
}

/**
 * Who that user is, and whose word counts beside: that of root, of the agent, and of the members of its group, who may use it.
 * @throws AgentError CONFIG_INVALID when there is no such user
 */
export async function borderOf(shell: Pick<Shell, 'run'>, files: Pick<Files, 'readText'>, user: string, ownUid: number): Promise<Border> {
  const ask = async (flag: string): Promise<readonly number[]> => {
    const { exitCode, stdout, tail } = await shell.run('/usr/bin/id', [flag, '--', user], { timeoutMs: LIMIT_MS });
    if (exitCode === 0) return stdout.trim().split(' ').map(Number);
    throw new AgentError('CONFIG_INVALID', `the user ${user} (users.comfyui) is not known: ${tail.trim()}`, {
      help: 'create the user, or leave users.comfyui out',
    });
  };
  const accounts = async (file: string) => accountsIn((await files.readText(file).catch(() => null)) ?? '');
  const [[uid = -1], gids, people, groups] = await Promise.all([ask('-u'), ask('-G'), accounts('/etc/passwd'), accounts('/etc/group')]);
  const members = groups.find(({ name }) => name === AGENT_GROUP)?.members ?? [];
  const operators = people.filter(({ name, id }) => members.includes(name) && id !== uid).map(({ id }) => id);
  return {
    comfyui: { name: user, uid, gids },
    trusted: [0, ownUid, ...operators],
    names: new Map([...people.map(({ name, id }): [number, string] => [id, name]), [uid, user]]),
  };
}

const FIND = '/usr/bin/find';
const LOOK_LIMIT_MS = 120_000;

/**
 * What of a directory the user of that shell may not read, by the kernel's own word: access lists count, which modes do not show.
 * @returns one path; null: all may be read
 */
export async function firstUnreadable(asUser: Pick<Shell, 'run'>, directory: string, signal?: AbortSignal): Promise<string | null> {
  const closed = ['(', '-type', 'd', '!', '(', '-readable', '-executable', ')', '-o', '-type', 'f', '!', '-readable', ')'];
  const { exitCode, stdout, tail } = await asUser.run(FIND, ['-H', directory, ...closed, '-print', '-quit'], {
    timeoutMs: LOOK_LIMIT_MS,
    maxOutputBytes: 64 * 1024,
    ...(signal === undefined ? {} : { signal }),
  });
  if (exitCode === 0 && stdout === '') return null;
  return stdout.trimEnd() || `${directory} (${tail.trim() || 'no answer in time'})`;
}

/** A command with what stands before it, as a program at `path`, for who can name only one. @returns its path */
export async function programBehind(
  files: Pick<Files, 'writeText'>,
  path: string,
  before: readonly string[],
  program: string,
): Promise<string> {
  const words = [...before, program].map((word) => `'${word.replaceAll("'", "'\\''")}'`);
  await files.writeText(path, `#!/bin/sh\nexec ${words.join(' ')} "$@"\n`, 0o700);
  return path;
}

/** Files of which the group may do what the owner may, where `isShared`: also those that are private else. */
export function shareWithGroup(files: Files, isShared: (path: string) => boolean): Files {
  const shared = (path: string, mode: number | undefined) => (mode === undefined || !isShared(path) ? mode : mode | ((mode & 0o700) >> 3));
  return {
    ...files,
    writeText: (path, content, mode) => files.writeText(path, content, shared(path, mode)),
    ensureDirectory: (path, mode) => files.ensureDirectory(path, shared(path, mode)),
  };
}
