import type { Agent } from '../../../domain/agent.ts';
import { AgentError, isAgentError } from '../../../domain/errors/errors.ts';
import { ExitCode } from '../../../domain/errors/registry.ts';
import { findAgent } from '../../client/connect.ts';
import { type Command, type Context, numberOf } from '../../context.ts';
import { readGpus } from '../../grammar/gpu-arguments.ts';
import { patience, pause } from '../../interrupt.ts';
import { describeDuration } from '../../render/duration.ts';
import { clean } from '../../render/text.ts';
import { rowReason } from '../../render/words.ts';

const POLL_MS = 500;
const SAY_AGAIN_MS = 30_000;

interface Look {
  readonly done: boolean;
  /** What it still waits for. */
  readonly reason: string;
  /** The document that `--json` prints when it is done. */
  readonly document: unknown;
}

/** `agent wait ready|healthy|installed [gpu]`: also for an agent that has not begun yet. */
export const wait: Command = async (context, [state = 'ready', reference], options) => {
  const timeoutMs = numberOf(options, 'timeout');
  const limit = patience(context.host, timeoutMs);
  const say = teller(context);
  try {
    for (;;) {
      const look = await lookOnce(context, state, reference ?? null);
      if (look.done) {
        if (context.json) context.printJson(look.document);
        return ExitCode.done;
      }
      say(look.reason);
      await pause(POLL_MS, limit.signal);
      if (limit.ended === 'timeout')
        throw new AgentError('TIMED_OUT', `not ${state} within ${describeDuration(timeoutMs ?? 0)}: ${look.reason}`, {
          help: `see \`${context.commandLine('status')}\``,
        });
      if (limit.ended === 'interrupted')
        throw new AgentError('INTERRUPTED', `interrupted while waiting: ${look.reason}`, { help: 'nothing was changed' });
    }
  } finally {
    limit.dispose();
  }
};

async function lookOnce(context: Context, state: string, reference: string | null): Promise<Look> {
  try {
    const connection = await findAgent(context);
    if (connection === null) return { done: false, reason: 'no agent is running yet', document: null };
    return await (reference === null ? machine(connection.agent, state) : instance(connection.agent, state, reference));
  } catch (error) {
    // A starting or restarting agent may not answer; everything else will not heal by waiting.
    if (isAgentError(error) && (error.code === 'AGENT_NOT_RUNNING' || error.code === 'TIMED_OUT' || error.code === 'GPU_QUERY_FAILED'))
      return { done: false, reason: error.message, document: null };
    throw error;
  }
}

async function machine(agent: Agent, state: string): Promise<Look> {
  if (state === 'installed') {
    const document = await agent.installation();
    if (document.status === 'disabled') throw disabled();
    return { done: document.ok, reason: document.reason ?? document.status, document };
  }
  const health = await agent.health();
  if (health.status === 'disabled') throw disabled();
  const reason = health.reasons[0] ?? `${health.capacity} ready, ${health.status}`;
  if (state === 'healthy') return { done: health.status === 'healthy', reason, document: health };
  const document = await agent.ready();
  return { done: document.ready, reason: document.reasons[0] ?? reason, document };
}

async function instance(agent: Agent, state: string, reference: string): Promise<Look> {
  const document = await agent.instance(await knownReference(agent, reference));
  if (document.status === 'disabled') throw disabled();
  const reason = `gpu ${document.gpu}: ${document.hold ?? rowReason(document) ?? document.status}`;
  const done =
    state === 'installed'
      ? document.layers.installation.status === 'pass'
      : state === 'healthy'
        ? document.status === 'healthy'
        : document.ready;
  return { done, reason, document };
}

/** `gpu0` is what logs and status call it; before the cards were seen only the agent can say what a name means. */
async function knownReference(agent: Agent, reference: string): Promise<string> {
  if (!/^(comfyui-)?gpu\d+$/i.test(reference)) return reference;
  const [gpu] = (await readGpus(agent, [reference])) ?? [];
  return String(gpu);
}

const disabled = (): AgentError =>
  new AgentError('HELD', 'ComfyUI is switched off on this machine', { help: 'it is switched on by ENABLE_COMFYUI=true (comfyui.enabled)' });

/** One line when the reason changes, and now and then while it does not. */
function teller(context: Context): (reason: string) => void {
  const substance = (text: string): string => text.replace(/(?<!\d)\d+(\.\d+)? ?(ms|s|m|%)(?=\W|$)/g, '');
  let last = '';
  let saidAt = 0;
  return (reason) => {
    if (substance(reason) === last && Date.now() - saidAt < SAY_AGAIN_MS) return;
    last = substance(reason);
    saidAt = Date.now();
    context.note(`waiting: ${clean(reason)}`);
  };
}
