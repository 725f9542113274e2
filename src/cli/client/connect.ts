import type { Agent } from '../../domain/agent.ts';
import { AgentError } from '../../domain/errors/errors.ts';
import type { Context } from '../context.ts';
import { createRemoteAgent } from './client.ts';
import { isListening } from './http.ts';
import { locate } from './locate.ts';

/** A facade to work with, and whether it lives in this program. */
export interface Connection {
  readonly agent: Agent;
  readonly isLocal: boolean;
  close(): Promise<void>;
}

const nothingToClose = async (): Promise<void> => undefined;

/** The running agent, or null when there is none. @throws AgentError FORBIDDEN, and of the configuration */
export async function findAgent(context: Context): Promise<Connection | null> {
  const { socket } = await locate(context.host, context.selection);
  if (!(await isListening(socket))) return null;
  return { agent: remoteAgent(context, socket), isLocal: false, close: nothingToClose };
}

/** The agent behind that socket, whether one listens or not. An upgrade that forgot to restart it explains many riddles: told once. */
export function remoteAgent({ host, warn }: Context, socketPath: string): Agent {
  let isTold = false;
  return createRemoteAgent({
    socketPath,
    onVersion: (version) => {
      const own = host.version.agent;
      if (isTold || version === own) return;
      isTold = true;
      warn(`note: the running agent is version ${version ?? 'unknown'}, this command is ${own}; restart the agent to use the new one`);
    },
  });
}

/** @throws AgentError AGENT_NOT_RUNNING */
export async function requireAgent(context: Context): Promise<Connection> {
  const found = await findAgent(context);
  if (found !== null) return found;
  const { root } = await locate(context.host, context.selection);
  throw notRunning(context, root);
}

export const notRunning = (context: Context, root: string): AgentError =>
  new AgentError('AGENT_NOT_RUNNING', `no agent is running on ${root}`, {
    help: `start it with \`${context.commandLine('run')}\` or \`systemctl start comfylet\`; another root is chosen with --root or AGENT_ROOT`,
  });

/** What a verb does where no agent runs: `examine` only reads too, but by programs that work in a release. */
export type Purpose = 'read' | 'examine' | 'change';

/** The running agent; without one, the same facade in this program. */
export async function agentOrLocal(context: Context, purpose: Purpose): Promise<Connection> {
  const found = await findAgent(context);
  if (found !== null) return found;
  if (purpose !== 'read') {
    const { root } = await locate(context.host, context.selection);
    const { requireOwner, requireSoleHand } = await import('./access.ts');
    await (purpose === 'change' ? requireOwner(root) : requireSoleHand(root));
  }
  const { agent, close } = await context.host.startInProcess({ ...context.selection, purpose: purpose === 'change' ? 'change' : 'read' });
  return { agent, isLocal: true, close };
}

/** Runs `work` with the agent or in process, and closes whatever happens. */
export async function withAgent<T>(context: Context, purpose: Purpose, work: (connection: Connection) => Promise<T>): Promise<T> {
  const connection = await agentOrLocal(context, purpose);
  try {
    return await work(connection);
  } finally {
    await connection.close();
  }
}
