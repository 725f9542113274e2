import { AGENT_GROUP, accountsIn } from '../../domain/configuration/access.ts';
import type { Files } from '../../ports/files.ts';

/** This process, as the kernel sees it. */
export interface Self {
  readonly uid: number;
  readonly groups: readonly number[];
}

export interface SocketRights {
  readonly mode: number;
  readonly gid: number;
  /** Of the directory, which gets the same group. */
  readonly directoryMode: number;
}

/**
 * For members of group comfylet, where there is one and this user may give files to it; otherwise undefined: the socket
 * is for its owner alone.
 */
export async function socketRights(files: Pick<Files, 'readText'>, { uid, groups }: Self): Promise<SocketRights | undefined> {
  const text = await files.readText('/etc/group').catch(() => null);
  const gid = accountsIn(text ?? '').find(({ name }) => name === AGENT_GROUP)?.id;
  if (gid === undefined || (uid !== 0 && !groups.includes(gid))) return undefined;
  return { mode: 0o660, gid, directoryMode: 0o750 };
}
