import { AgentError } from '../domain/errors.ts';
import type { Files, Shell } from '../ports.ts';

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
