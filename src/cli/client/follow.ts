import type { Agent } from '../../domain/agent.ts';
import { AgentError, isAgentError } from '../../domain/errors/errors.ts';
import { type ErrorCode, errorRegistry } from '../../domain/errors/registry.ts';
import type { OperationDocument, OperationRequest } from '../../domain/operation.ts';
import type { Context } from '../context.ts';
import { type Patience, patience, pause } from '../interrupt.ts';
import { describeDuration } from '../render/duration.ts';
import { liveView, type ProgressView, plainView } from '../render/progress.ts';
import type { Connection } from './connect.ts';

export interface FollowOptions {
  /** What was typed, without global options: `restart 0`. */
  readonly verb: string;
  readonly wait: boolean;
  readonly timeoutMs: number | null;
}

const TICK_MS = 1_000;
/** A stream that ends before its operation (a slow reader is cut) is taken up again this often. */
const RESUMES = 5;

/**
 * Starts an operation, or joins the one that runs, and shows it until it ends.
 * @throws AgentError of a failed operation; HELD when another kind of work runs; INTERRUPTED, TIMED_OUT
 */
export async function runOperation(
  context: Context,
  connection: Connection,
  request: OperationRequest,
  options: FollowOptions,
): Promise<OperationDocument> {
  const { agent, isLocal } = connection;
  const askedAt = Date.now();
  const first = await agent.startOperation(request);
  refuseOther(first, request, context);
  const isJoined = Date.parse(first.startedAt) < askedAt - TICK_MS;
  if (isJoined && first.state === 'running')
    context.note(
      `this was asked for before and has been running for ${describeDuration(askedAt - Date.parse(first.startedAt))}; following it`,
    );
  // In this program there is nobody else who would go on with it.
  if (!options.wait && !isLocal) return first;
  const limit = patience(context.host, options.timeoutMs);
  const view = viewFor(context);
  try {
    const last = await follow(agent, first, limit, view);
    if (last.state === 'running') throw endedEarly(limit, last, context, options, isLocal);
    if (last.error !== null) throw operationError(last);
    return last;
  } finally {
    limit.dispose();
  }
}

/** Someone who asked to stop must not be told "done" because a start was already running. */
function refuseOther(operation: OperationDocument, request: OperationRequest, context: Context): void {
  if (operation.kind === request.kind || (operation.kind === 'reinstall' && request.kind === 'install')) return;
  const seconds = describeDuration(Date.now() - Date.parse(operation.startedAt));
  throw new AgentError('HELD', `${operation.kind} (${operation.target}) has been running for ${seconds}; ${request.kind} was not begun`, {
    help: `wait for it: \`${context.commandLine('status')}\` shows how far it is`,
    details: { operation: operation.id },
  });
}

async function follow(agent: Agent, first: OperationDocument, limit: Patience, view: ProgressView): Promise<OperationDocument> {
  let last = first;
  view.update(first);
  const timer = setInterval(() => view.tick(), TICK_MS);
  try {
    for (let attempt = 0; last.state === 'running' && !limit.signal.aborted && attempt < RESUMES; attempt++) {
      if (attempt > 0) await pause(200 * attempt, limit.signal);
      for await (const document of agent.followOperation(first.id, limit.signal)) {
        last = document;
        view.update(document);
        if (document.state !== 'running') break;
      }
    }
    if (last.state === 'running' && !limit.signal.aborted) {
      throw new AgentError('AGENT_NOT_RUNNING', `the agent stopped telling about ${first.id}`, { help: 'see `agent status`' });
    }
    return last;
  } catch (error) {
    if (limit.signal.aborted) return last;
    if (isAgentError(error) && error.code === 'OPERATION_NOT_FOUND')
      throw new AgentError('AGENT_NOT_RUNNING', 'the agent was restarted meanwhile', {
        help: 'see `agent status`; run the command again to continue',
        cause: error,
      });
    throw error;
  } finally {
    clearInterval(timer);
    view.end();
  }
}

function endedEarly(
  limit: Patience,
  last: OperationDocument,
  context: Context,
  { verb, timeoutMs }: FollowOptions,
  isLocal: boolean,
): AgentError {
  const again = context.commandLine(verb);
  const goesOn = isLocal ? `what was done so far is kept; \`${again}\` goes on` : `it goes on in the agent; \`${again}\` attaches again`;
  const details = { operation: last.id };
  return limit.ended === 'timeout'
    ? new AgentError('TIMED_OUT', `not done within ${describeDuration(timeoutMs ?? 0)}: ${last.message}`, { help: goesOn, details })
    : new AgentError('INTERRUPTED', isLocal ? 'interrupted' : 'detached', { help: goesOn, details });
}

/** The reason an operation ended with, as the error it was. */
export function operationError({ error, message }: OperationDocument): AgentError {
  const code = error?.code ?? 'INTERNAL';
  const known: ErrorCode = Object.hasOwn(errorRegistry, code) ? (code as ErrorCode) : 'INTERNAL';
  return new AgentError(
    known,
    error?.message ?? message,
    error === null ? {} : { help: error.help, retryable: error.retryable, details: error.details ?? {} },
  );
}

function viewFor({ host, errorStyle: style, quiet, json }: Context): ProgressView {
  const now = () => Date.now();
  if (quiet) return SILENT;
  return host.stderr.isTty && !json ? liveView({ output: host.stderr, style, now }) : plainView({ output: host.stderr, style, now });
}

const SILENT: ProgressView = { update() {}, tick() {}, end() {} };
