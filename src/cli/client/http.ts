import { type ClientRequest, type IncomingMessage, type RequestOptions, request } from 'node:http';
import { connect } from 'node:net';
import { AgentError } from '../../domain/errors/errors.ts';
import { type ErrorCode, errorRegistry } from '../../domain/errors/registry.ts';
import { VERSION_HEADER } from '../../domain/versions.ts';

/**
 * HTTP over the agent's unix socket. node:http and not undici: it is there in 4 ms, undici takes 45 (of the 120 that
 * `agent status` may take), and one request to a local socket needs no pool.
 */

/** Documents come from a cache; more than this is an agent that hangs. */
const ANSWER_MS = 15_000;
const ANSWER_LIMIT = 64 * 1024 * 1024;
const EVENT_LIMIT = 8 * 1024 * 1024;
const PROBE_MS = 2_000;

/** A name of a TLS server: without one, node compiles the expression for IPv6 addresses to find one (5 ms). */
const PLAIN: RequestOptions = { agent: false, ...{ servername: '' } };

export interface SocketRequest {
  readonly method: 'GET' | 'POST' | 'PATCH';
  readonly path: string;
  readonly body?: unknown;
}

/** What the whole conversation with one agent shares. */
export interface Peer {
  readonly socketPath: string;
  /** Told the version of the agent with each answer; null when it does not say. */
  readonly onVersion: (version: string | null) => void;
}

/** Whether a process listens. A socket that a dead agent left behind does not count. @throws AgentError FORBIDDEN */
export function isListening(socketPath: string): Promise<boolean> {
  return new Promise((resolve, reject) => {
    const socket = connect(socketPath);
    const end = (answer: boolean) => {
      socket.destroy();
      resolve(answer);
    };
    // It took the connection request and is too busy to answer: it is there.
    socket.setTimeout(PROBE_MS, () => end(true));
    socket.once('connect', () => end(true));
    socket.once('error', (error: NodeJS.ErrnoException) => {
      if (error.code === 'EACCES' || error.code === 'EPERM') void refused(socketPath, error).then(reject);
      else end(false);
    });
  });
}

/** The parsed answer, whatever its status: an unhealthy document is an answer. @throws AgentError of an error body */
export async function call(peer: Peer, options: SocketRequest): Promise<unknown> {
  const { response } = await send(peer, options, ANSWER_MS);
  const chunks: Buffer[] = [];
  let size = 0;
  try {
    for await (const chunk of response as AsyncIterable<Buffer>) {
      size += chunk.length;
      if (size > ANSWER_LIMIT) throw new AgentError('INTERNAL', `the agent's answer to ${options.path} is too large`);
      chunks.push(chunk);
    }
  } catch (error) {
    throw error instanceof AgentError ? error : lost(error);
  }
  const text = Buffer.concat(chunks).toString('utf8');
  if (!(response.headers['content-type'] ?? '').includes('json')) return text;
  const document = parse(text);
  throwIfError(document, response.statusCode ?? 0);
  return document;
}

/** Each event's document, until the stream or the signal ends. @throws AgentError of an error body or a "problem" event */
export async function* events<T>(peer: Peer, path: string, signal: AbortSignal): AsyncIterable<T> {
  if (signal.aborted) return;
  const { request: sent, response } = await send(peer, { method: 'GET', path }, ANSWER_MS, 'text/event-stream');
  const abort = () => sent.destroy();
  signal.addEventListener('abort', abort, { once: true });
  try {
    if (signal.aborted) return;
    if (!(response.headers['content-type'] ?? '').includes('text/event-stream')) {
      throwIfError(parse(await textOf(response)), response.statusCode ?? 0);
      throw new AgentError('INTERNAL', `the agent answered ${path} without events`);
    }
    response.setEncoding('utf8');
    let buffer = '';
    for await (const chunk of response as AsyncIterable<string>) {
      buffer += chunk;
      let end = buffer.indexOf('\n\n');
      for (; end !== -1; end = buffer.indexOf('\n\n')) {
        const event = readEvent(buffer.slice(0, end));
        buffer = buffer.slice(end + 2);
        if (event === null) continue;
        if (event.name === 'problem') throwIfError(event.data, 500);
        yield event.data as T;
      }
      if (buffer.length > EVENT_LIMIT) throw new AgentError('INTERNAL', 'an event of the agent is too large');
    }
  } catch (error) {
    if (signal.aborted) return;
    throw error instanceof AgentError ? error : lost(error);
  } finally {
    signal.removeEventListener('abort', abort);
    sent.destroy();
  }
}

/** One block of a text/event-stream; null for comments. */
export function readEvent(block: string): { readonly name: string; readonly data: unknown } | null {
  let name = 'message';
  const data: string[] = [];
  for (const line of block.split('\n')) {
    const [, field, value] = /^(\w+): ?(.*)$/.exec(line) ?? [];
    if (field === 'event') name = value ?? '';
    if (field === 'data') data.push(value ?? '');
  }
  return data.length === 0 ? null : { name, data: parse(data.join('\n')) };
}

function send(
  { socketPath, onVersion }: Peer,
  { method, path, body }: SocketRequest,
  timeoutMs: number,
  accept = 'application/json',
): Promise<{ readonly request: ClientRequest; readonly response: IncomingMessage }> {
  return new Promise((resolve, reject) => {
    const text = body === undefined ? null : JSON.stringify(body);
    const headers = {
      accept,
      host: 'localhost',
      ...(text === null ? {} : { 'content-type': 'application/json', 'content-length': Buffer.byteLength(text) }),
    };
    const sent = request({ ...PLAIN, socketPath, method, path, headers });
    const timer = setTimeout(() => {
      reject(
        new AgentError('TIMED_OUT', `the agent does not answer (${socketPath})`, {
          help: 'it hangs or the machine is overloaded; see logs/agent.log, and `systemctl restart comfylet`',
        }),
      );
      sent.destroy();
    }, timeoutMs);
    sent.once('response', (response) => {
      clearTimeout(timer);
      const version = response.headers[VERSION_HEADER];
      onVersion(typeof version === 'string' ? version : null);
      resolve({ request: sent, response });
    });
    sent.on('error', (error: NodeJS.ErrnoException) => {
      clearTimeout(timer);
      if (error.code === 'ENOENT' || error.code === 'ECONNREFUSED')
        reject(new AgentError('AGENT_NOT_RUNNING', `no agent is running (nothing listens on ${socketPath})`, { cause: error }));
      else if (error.code === 'EACCES' || error.code === 'EPERM') void refused(socketPath, error).then(reject);
      else reject(lost(error));
    });
    sent.end(text ?? undefined);
  });
}

const refused = async (socketPath: string, cause: unknown): Promise<AgentError> =>
  (await import('./access.ts')).forbidden(socketPath, cause);

const lost = (cause: unknown): AgentError =>
  new AgentError('AGENT_NOT_RUNNING', 'the connection to the agent was lost: it stopped or was restarted', {
    help: 'see `agent status`; run the command again once it runs',
    cause,
  });

async function textOf(response: IncomingMessage): Promise<string> {
  response.setEncoding('utf8');
  let text = '';
  for await (const chunk of response as AsyncIterable<string>) {
    text += chunk;
    if (text.length > EVENT_LIMIT) break;
  }
  return text;
}

function parse(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch (error) {
    throw new AgentError('INTERNAL', 'the agent answered with something that is not JSON', {
      help: 'is another program listening on its socket?',
      cause: error,
    });
  }
}

/** An error body becomes the error it was, also one that only a newer agent knows. */
function throwIfError(document: unknown, status: number): void {
  const error = (document as { error?: unknown } | null)?.error;
  if (typeof error !== 'object' || error === null || !('code' in error) || !('message' in error)) {
    if (status >= 400 && status !== 503) throw new AgentError('INTERNAL', `the agent answered with status ${status}`);
    return;
  }
  const { code, message, help, retryable, details } = error as {
    code: string;
    message: string;
    help?: string;
    retryable?: boolean;
    details?: Record<string, unknown>;
  };
  // An operation document carries its error without being one.
  if ('state' in (document as object)) return;
  const known = Object.hasOwn(errorRegistry, code) ? (code as ErrorCode) : 'INTERNAL';
  throw new AgentError(known, known === code ? message : `${code}: ${message}`, {
    ...(help === undefined ? {} : { help }),
    ...(retryable === undefined ? {} : { retryable }),
    ...(details === undefined ? {} : { details }),
  });
}
