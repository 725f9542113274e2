import { randomUUID } from 'node:crypto';
import type { Socket } from 'node:net';
import type { WebSocket } from 'undici';
import { z } from 'zod';
import { isAgentError } from '../../domain/errors/errors.ts';
import { type ComfyRequest, fault, nameOf, translate } from './request.ts';

/**
 * How long a server that has greeted may take to answer `ping`. The fork answers within its event loop's turn; upstream
 * never does. The fork's greeting decides alone, so this matters only where a proxy or a pack swallows it.
 */
const PONG_MS = 500;

/** Greetings are small; a preview of somebody's job is not ours to read. */
const MESSAGE_LIMIT = 256 * 1024;

const Message = z.object({ type: z.string() });

/**
 * Opens /ws and sees which protocol is spoken: the fork mints an id and greets with `client_id` first of all (and answers
 * `ping`), upstream greets with `status`. @throws AgentError INSTANCE_FAILED
 */
export async function askProtocol(baseUrl: string, timeoutMs: number): Promise<'fork' | 'upstream'> {
  let pongTimer: NodeJS.Timeout | undefined;
  try {
    return await converse<'fork' | 'upstream'>(baseUrl, timeoutMs, (type, socket, resolve) => {
      if (type === 'client_id' || type === 'pong') return resolve('fork');
      if (pongTimer !== undefined) return;
      pongTimer = setTimeout(resolve, PONG_MS, 'upstream');
      socket.send(JSON.stringify({ type: 'ping' }));
    });
  } finally {
    clearTimeout(pongTimer);
  }
}

/** Opens /ws, is greeted and stays connected for so long. @throws AgentError INSTANCE_FAILED */
export async function holdWebSocket(baseUrl: string, timeoutMs: number, holdMs: number): Promise<void> {
  let timer: NodeJS.Timeout | undefined;
  try {
    // The limit is on the greeting.
    await converse<undefined>(baseUrl, timeoutMs + holdMs, (_, __, resolve) => {
      timer ??= setTimeout(resolve, holdMs, undefined);
    });
  } finally {
    clearTimeout(timer);
  }
}

/** One connection, until `onMessage` has its answer. A connection that is cut, or says nothing for too long, rejects. */
async function converse<T>(
  baseUrl: string,
  timeoutMs: number,
  onMessage: (type: string, socket: WebSocket, resolve: (answer: T) => void) => void,
): Promise<T> {
  const { Agent, WebSocket, buildConnector } = await import('undici');
  const request: ComfyRequest = { method: 'GET', baseUrl, path: '/ws', timeoutMs };
  const { promise, resolve, reject } = Promise.withResolvers<T>();
  const signal = AbortSignal.timeout(timeoutMs);
  const fail = (error: unknown): void => reject(isAgentError(error) ? error : translate(error, request, signal));

  // The connection is watched by us: a WebSocket only says that it failed, and waits for a hung server when it closes.
  const connect = buildConnector({ timeout: timeoutMs });
  let connection: Socket | null = null;
  const dispatcher = new Agent({
    allowH2: false,
    webSocket: { maxPayloadSize: MESSAGE_LIMIT },
    connect: (options, done) =>
      connect(options, (...result) => {
        const [error, socket] = result;
        if (error !== null) fail(error);
        connection = socket;
        done(...result);
      }),
  });
  const socket = new WebSocket(`${baseUrl.replace(/^http/, 'ws')}/ws?clientId=agent-protocol-${randomUUID()}`, { dispatcher });
  signal.addEventListener('abort', fail);
  socket.addEventListener('message', (event) => {
    const type = typeOf(event.data);
    if (type !== null) onMessage(type, socket, resolve);
  });
  socket.addEventListener('error', () => fail(fault('status', `${nameOf(request)} did not open a WebSocket`)));
  socket.addEventListener('close', () => fail(fault('refused', `${nameOf(request)}: the connection was closed by the server`)));
  try {
    return await promise;
  } finally {
    signal.removeEventListener('abort', fail);
    socket.close();
    // After the close frame has been written.
    (connection as Socket | null)?.destroySoon();
    await dispatcher.destroy();
  }
}

/** Type of a JSON message; null for previews in binary and for what is no message. */
function typeOf(data: unknown): string | null {
  if (typeof data !== 'string') return null;
  try {
    return Message.parse(JSON.parse(data)).type;
  } catch {
    return null;
  }
}
