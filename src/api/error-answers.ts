import type { Socket } from 'node:net';
import type { FastifyReply, FastifyRequest } from 'fastify';
import { errorDocument } from '../domain/errors/document.ts';
import { AgentError, asAgentError, isAgentError } from '../domain/errors/errors.ts';
import type { Logger } from '../ports/logs.ts';
import type { App } from './app-types.ts';

export const BODY_LIMIT = 64 * 1024;
const RETRY_AFTER_S = '5';

/** What fastify and Node say of a bad request, in words of ours. The status stays theirs. */
const words: Readonly<Record<number, string>> = {
  400: 'the request is malformed',
  408: 'the request did not arrive in time',
  413: `the body is larger than ${BODY_LIMIT / 1024} KiB`,
  414: 'the address is too long',
  415: 'the body must be application/json',
  431: 'the headers are too large',
};

const statusOf = (error: unknown): number => {
  const status = (error as { statusCode?: unknown } | null)?.statusCode;
  return typeof status === 'number' && status >= 400 && status < 600 ? status : 500;
};

/** Any error thrown on the way, with the status it is answered with. The faults of our own are told without their insides. */
export function toAnswer(error: unknown, requestId: string): { readonly status: number; readonly answer: AgentError } {
  if (!isAgentError(error) && statusOf(error) < 500) {
    const status = statusOf(error);
    const code = (error as { code?: unknown }).code;
    const text = code === 'FST_ERR_CTP_INVALID_JSON_BODY' || error instanceof SyntaxError ? 'the body is not valid JSON' : words[status];
    return { status, answer: new AgentError('REQUEST_INVALID', text ?? 'the request is not valid') };
  }
  const known = asAgentError(error);
  if (known.code !== 'INTERNAL') return { status: known.httpStatus, answer: known };
  return { status: 500, answer: new AgentError('INTERNAL', 'the agent met a fault of its own', { details: { requestId } }) };
}

export function sendError(error: unknown, request: FastifyRequest, reply: FastifyReply, log: Logger): void {
  const { status, answer } = toAnswer(error, request.id);
  if (answer.code === 'INTERNAL')
    log.error({ err: error, requestId: request.id, method: request.method, route: request.routeOptions.url }, 'request failed');
  if (status === 401) reply.header('www-authenticate', 'Bearer realm="comfylet"');
  if (status === 503 && answer.retryable) reply.header('retry-after', RETRY_AFTER_S);
  void reply.code(status).send(errorDocument(answer));
}

export function installErrorAnswers(app: App, log: Logger): void {
  app.setErrorHandler((error, request, reply) => sendError(error, request, reply, log));
  app.setNotFoundHandler((request) => {
    throw new AgentError('NOT_FOUND', `there is nothing at ${request.url.split('?')[0]?.slice(0, 200)}`);
  });
}

/** What never became a request: too large headers, no HTTP at all, too slow. */
export function answerClientError(error: Error & { code?: string }, socket: Socket): void {
  if (error.code === 'ECONNRESET' || !socket.writable) return void socket.destroy();
  const status = error.code === 'HPE_HEADER_OVERFLOW' ? 431 : error.code === 'ERR_HTTP_REQUEST_TIMEOUT' ? 408 : 400;
  const body = JSON.stringify(errorDocument(new AgentError('REQUEST_INVALID', words[status] ?? 'the request is malformed')));
  const head = [
    'HTTP/1.1 ',
    status,
    ' Bad Request\r\ncontent-type: application/json; charset=utf-8\r\ncontent-length: ',
    Buffer.byteLength(body),
    '\r\nconnection: close\r\n\r\n',
  ];
  socket.end(head.join('') + body);
}
