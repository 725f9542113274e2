import { AgentError, isAgentError } from '../../../../domain/errors/errors.ts';
import type { InstanceDocument } from '../../../../domain/instances/instance.ts';
import { findAgent } from '../../../client/connect.ts';
import type { Context } from '../../../context.ts';
import { pause } from '../../../interrupt.ts';
import { describeDuration } from '../../../render/duration.ts';

const POLL_MS = 50;
/** It has to go on answering: one that ends in a loop answers now and then. */
const STEADY_MS = 3_000;

/** What an agent says of the machine. */
export interface Look {
  readonly pid: number | null;
  readonly version: string;
  readonly status: string;
  readonly instances: readonly Pick<InstanceDocument, 'name' | 'pid' | 'ready'>[];
}

/** null: no agent answers. */
export async function lookAt(context: Context): Promise<Look | null> {
  try {
    const connection = await findAgent(context);
    if (connection === null) return null;
    const { agent, health } = await connection.agent.status();
    return {
      pid: agent.pid,
      version: agent.version,
      status: health.status,
      instances: health.instances.map(({ name, pid, ready }) => ({ name, pid, ready })),
    };
  } catch (error) {
    if (isAgentError(error) && (error.retryable || error.code === 'AGENT_NOT_RUNNING')) return null;
    throw error;
  }
}

/**
 * Until another agent than before answers, has the version, and serves every instance that was served before, for some seconds.
 * @returns the last look, and for how long nobody answered
 * @throws AgentError UPGRADE_FAILED with what was missing last
 */
export async function untilProved(
  context: Context,
  {
    before,
    version,
    timeoutMs,
    restart,
  }: {
    readonly before: Look;
    readonly version: string;
    readonly timeoutMs: number;
    readonly restart: () => Promise<void>;
  },
): Promise<{ readonly look: Look; readonly awayMs: number }> {
  const begin = performance.now();
  let failure: unknown = null;
  const restarted = restart().catch((error: unknown) => {
    failure = error;
  });
  let awaySince: number | null = null;
  let awayMs = 0;
  let steadySince: number | null = null;
  let missing = 'no agent answers';
  const wanted = new Set(before.instances.filter(({ ready }) => ready).map(({ name }) => name));
  while (performance.now() - begin < timeoutMs) {
    const look = await lookAt(context);
    const now = performance.now();
    if (look === null) {
      awaySince ??= now;
      steadySince = null;
      missing = 'no agent answers';
    } else {
      if (awaySince !== null) awayMs += now - awaySince;
      awaySince = null;
      missing = whatIsMissing(look, before, version, wanted) ?? '';
      steadySince = missing === '' ? (steadySince ?? now) : null;
      if (steadySince !== null && now - steadySince >= STEADY_MS) {
        await restarted;
        return { look, awayMs: Math.round(awayMs) };
      }
    }
    if (failure !== null) throw failure;
    await pause(POLL_MS, new AbortController().signal);
  }
  throw new AgentError('UPGRADE_FAILED', `agent ${version} was not up within ${describeDuration(timeoutMs)}: ${missing}`);
}

function whatIsMissing(look: Look, before: Look, version: string, wanted: ReadonlySet<string>): string | null {
  if (look.pid === before.pid) return 'the agent from before still answers';
  if (look.version !== version) return `agent ${look.version} answers`;
  const away = look.instances.filter(({ name, ready }) => wanted.has(name) && !ready).map(({ name }) => name);
  const gone = [...wanted].filter((name) => !look.instances.some((instance) => instance.name === name));
  return away.length + gone.length === 0 ? null : `not ready: ${[...away, ...gone].join(', ')}`;
}
