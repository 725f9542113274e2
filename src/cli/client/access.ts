import type { Stats } from 'node:fs';
import { readFile, stat } from 'node:fs/promises';
import { AGENT_GROUP, AGENT_USER, accountsIn } from '../../domain/configuration/access.ts';
import { AgentError } from '../../domain/errors/errors.ts';

/** Errors about who runs a command; loaded only when there is one. */

const read = async (path: string) => accountsIn(await readFile(path, 'utf8').catch(() => ''));
const nameOf = async (uid: number): Promise<string> => (await read('/etc/passwd')).find(({ id }) => id === uid)?.name ?? `user ${uid}`;

/** Why this account may not use what lies at `path`, and what to do about it. */
export async function forbidden(path: string, cause: unknown): Promise<AgentError> {
  const name = await nameOf(process.getuid?.() ?? -1);
  const group = (await read('/etc/group')).find((each) => each.name === AGENT_GROUP) ?? null;
  const details = { path, account: name, group: group === null ? null : AGENT_GROUP };
  if (group === null)
    return new AgentError('FORBIDDEN', `${name} may not use the agent: ${path} is for its owner alone`, {
      help: 'run the command as the user of the agent, or with sudo',
      cause,
      details,
    });
  if ((process.getgroups?.() ?? []).includes(group.id))
    return new AgentError('FORBIDDEN', `${name} may not use the agent: ${path} is not for members of group ${AGENT_GROUP}`, {
      help: 'the agent was started before the group was there, or by a user who is no member: restart it',
      cause,
      details,
    });
  const isMember = group.members.includes(name);
  return new AgentError(
    'FORBIDDEN',
    `${name} may not use the agent: ${isMember ? 'this login began before' : 'no member of'} group ${AGENT_GROUP}${isMember ? ' was joined' : ''}`,
    {
      help: isMember ? 'log in again' : `\`sudo usermod -aG ${AGENT_GROUP} ${name}\`, then log in again; or use sudo`,
      cause,
      details,
    },
  );
}

/**
 * Files that a command makes without the agent would belong to whoever runs it, and the agent could not change them.
 * Root is warned off only where the agent has a user of its own.
 * @throws AgentError AGENT_NOT_RUNNING when the root belongs to another user
 */
export async function requireOwner(root: string): Promise<void> {
  const uid = process.getuid?.() ?? 0;
  const facts = await stat(root).catch(() => null);
  if (facts === null || facts.uid === uid) return;
  const [user, ownerName] = [await nameOf(uid), await nameOf(facts.uid)];
  if (uid === 0 && ownerName !== AGENT_USER) return;
  const asOwner = (await isShared(facts)) ? '' : `, or run the command as ${ownerName} (\`sudo -u ${ownerName} …\`)`;
  throw new AgentError(
    'AGENT_NOT_RUNNING',
    `no agent is running on ${root}, and what ${user} makes there without it would have the wrong owner`,
    { help: `start the agent (\`systemctl start comfylet\`)${asOwner}`, details: { root, owner: ownerName } },
  );
}

/** Whether a root was made for two users: what is made there belongs to a group that is not its owner's own. */
async function isShared({ uid, gid, mode }: Pick<Stats, 'uid' | 'gid' | 'mode'>): Promise<boolean> {
  const owner = (await read('/etc/passwd')).find(({ id }) => id === uid);
  return (mode & 0o2000) !== 0 && owner !== undefined && owner.group !== gid;
}

/**
 * An installation runs programs of node packs. In a root that was made for two users they must not run as the owner, who can read what the
 * agent keeps from them.
 * @throws AgentError AGENT_NOT_RUNNING
 */
export async function requireDivided(root: string, comfyuiUser: string | null): Promise<void> {
  const facts = comfyuiUser === null ? await stat(root).catch(() => null) : null;
  if (facts === null || !(await isShared(facts))) return;
  const owner = await nameOf(facts.uid);
  throw new AgentError('AGENT_NOT_RUNNING', `no agent is running on ${root}, and without it programs of node packs would run as ${owner}`, {
    help: 'start the agent (`systemctl start comfylet`), which runs them as another user',
    details: { root, owner },
  });
}

/**
 * A look into a release runs git and Python there, and both run programs that its files name. Whoever asks lends them rights.
 * @throws AgentError AGENT_NOT_RUNNING when anybody else may write into releases of that root
 */
export async function requireSoleHand(root: string): Promise<void> {
  const facts = await stat(`${root}/releases`).catch(() => null);
  if (facts === null) return;
  const [uid, gid] = [process.getuid?.() ?? 0, process.getgid?.() ?? 0];
  const ofGroup = (facts.mode & 0o020) !== 0 && facts.gid !== gid;
  if (facts.uid === uid && !ofGroup && (facts.mode & 0o002) === 0) return;
  throw new AgentError(
    'AGENT_NOT_RUNNING',
    `no agent is running on ${root}, and others than ${await nameOf(uid)} may write into its releases: a look into them would run their programs as ${await nameOf(uid)}`,
    { help: 'start the agent (`systemctl start comfylet`), which looks with the rights of who runs ComfyUI', details: { root } },
  );
}
