import type { Agent } from 'undici';
import type { z } from 'zod';
import { AgentError } from '../../domain/errors/errors.ts';

/** Why a call failed: nobody there, no answer in time, an answer with an error status, or one that cannot be understood. */
export type FaultKind = 'refused' | 'timeout' | 'status' | 'body';

/** @returns INSTANCE_FAILED with `details.kind` */
export const fault = (kind: FaultKind, message: string, details: Readonly<Record<string, unknown>> = {}, cause?: unknown): AgentError =>
  new AgentError('INSTANCE_FAILED', message, { details: { ...details, kind }, ...(cause === undefined ? {} : { cause }) });

export interface ComfyRequest {
  readonly method: 'GET' | 'POST';
  readonly baseUrl: string;
  /** With query. */
  readonly path: string;
  readonly timeoutMs: number;
  readonly body?: object;
}

export interface ComfyResponse {
  readonly status: number;
  readonly contentType: string;
  readonly bytes: Buffer;
  /** There was more than was read. */
  readonly truncated: boolean;
}

/** One request of at most `limit` bytes of answer; the time limit covers everything from connecting to the last byte. */
export type Send = (request: ComfyRequest, limit: number) => Promise<ComfyResponse>;

/** A connection is kept for a burst of calls only: one that outlives the server would tell of the dead. */
const KEEP_ALIVE_MS = 1_000;

/** undici is loaded by the first request. */
export function createSend(): Send {
  let agent: Promise<Agent> | null = null;
  return async (request, limit) => {
    agent ??= import('undici').then(
      (undici) =>
        new undici.Agent({ keepAliveTimeout: KEEP_ALIVE_MS, keepAliveMaxTimeout: KEEP_ALIVE_MS, maxHeaderSize: 16 * 1024, allowH2: false }),
    );
    const dispatcher = await agent;
    const signal = AbortSignal.timeout(request.timeoutMs);
    try {
      const response = await dispatcher.request({
        origin: request.baseUrl,
        path: request.path,
        method: request.method,
        signal,
        // The signal is the limit; undici's own are coarser.
        headersTimeout: 0,
        bodyTimeout: 0,
        ...(request.body === undefined ? {} : { headers: { 'content-type': 'application/json' }, body: JSON.stringify(request.body) }),
      });
      const parts: Buffer[] = [];
      let size = 0;
      for await (const part of response.body as AsyncIterable<Buffer>) {
        parts.push(part);
        size += part.length;
        // Leaving the loop closes the connection.
        if (size > limit) break;
      }
      const type = response.headers['content-type'];
      return {
        status: response.statusCode,
        contentType: (Array.isArray(type) ? type[0] : type) ?? '',
        bytes: Buffer.concat(parts).subarray(0, limit),
        truncated: size > limit,
      };
    } catch (error) {
      throw translate(error, request, signal);
    }
  };
}

/** Answer in JSON, checked; an error status rejects with what the server said. */
export async function sendForJson<T>(send: Send, request: ComfyRequest, schema: z.ZodType<T>, limit: number): Promise<T> {
  const response = await send(request, limit);
  expectSuccess(request, response);
  if (response.truncated) throw fault('body', `${nameOf(request)} answered with more than ${limit} bytes`);
  let document: unknown;
  try {
    document = JSON.parse(response.bytes.toString('utf8'));
  } catch (cause) {
    throw fault('body', `${nameOf(request)} did not answer in JSON (${response.contentType || 'no content type'})`, {}, cause);
  }
  const parsed = schema.safeParse(document);
  if (parsed.success) return parsed.data;
  const issue = parsed.error.issues[0];
  throw fault(
    'body',
    `${nameOf(request)} answered in a form not known: ${issue?.path.join('.') ?? ''} ${issue?.message ?? ''}`,
    {},
    parsed.error,
  );
}

export function expectSuccess(request: ComfyRequest, response: ComfyResponse): void {
  if (response.status >= 200 && response.status < 300) return;
  const words = response.bytes.toString('utf8').trim().split('\n')[0]?.slice(0, 200) ?? '';
  throw fault('status', `${nameOf(request)} answered ${response.status}${words === '' ? '' : `: ${words}`}`, { status: response.status });
}

export const nameOf = (request: Pick<ComfyRequest, 'method' | 'baseUrl' | 'path'>): string =>
  `${request.method} ${request.baseUrl}${request.path.split('?')[0] ?? ''}`;

/** Errors of undici and of sockets, by their codes. */
export function translate(error: unknown, request: ComfyRequest, signal: AbortSignal): AgentError {
  const name = nameOf(request);
  const { code, message } = error as { code?: string; message?: string };
  if (signal.aborted || code === 'UND_ERR_CONNECT_TIMEOUT' || code === 'ETIMEDOUT')
    return fault('timeout', `${name} got no answer within ${request.timeoutMs} ms`, {}, error);
  switch (code) {
    case 'ECONNREFUSED':
      return fault('refused', `${name}: nothing listens there`, {}, error);
    case 'ECONNRESET':
    case 'EPIPE':
    case 'UND_ERR_SOCKET':
      return fault('refused', `${name}: the connection was closed before an answer`, {}, error);
    case 'EHOSTUNREACH':
    case 'ENETUNREACH':
    case 'ENOTFOUND':
    case 'EADDRNOTAVAIL':
      return fault('refused', `${name} cannot be reached (${code})`, {}, error);
    default:
      return fault('body', `${name} did not answer in HTTP: ${message ?? String(error)}`, {}, error);
  }
}
