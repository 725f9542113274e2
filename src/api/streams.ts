import type { ServerResponse } from 'node:http';
import type { FastifyReply, FastifyRequest } from 'fastify';
import { errorDocument } from '../domain/errors/document.ts';
import { AgentError } from '../domain/errors/errors.ts';
import type { Logger } from '../ports/logs.ts';
import { toAnswer } from './error-answers.ts';
import type { Serialize } from './serialize.ts';

export interface StreamLimits {
  /** Streams open at one time, of operators and of everybody else each: nobody without a token takes an operator's place. */
  readonly max: number;
  readonly isOperator: (request: FastifyRequest) => boolean;
  /** A comment is sent this often, so that proxies and readers see that the line is alive. */
  readonly heartbeatMs: number;
  /** A reader that has not taken what was written for this long is cut. */
  readonly slowReaderMs: number;
}

export const HEARTBEAT_MS = 15_000;
export const SLOW_READER_MS = 15_000;
/** How long a cut reader has to take the last words before its connection is destroyed. */
const FAREWELL_MS = 1_000;

const TOO_SLOW = ': cut, this reader is too slow\n\n';

/** One event. `id` comes back as Last-Event-ID when the reader connects again. */
export interface StreamEvent {
  readonly id?: number;
  readonly data: object;
}

export interface Streams {
  readonly open: number;
  /**
   * Answers with Server-Sent Events until the source ends, the reader leaves or the server closes.
   * An error of the source becomes a last event named "problem".
   * @throws AgentError TOO_MANY_STREAMS
   */
  serve(request: FastifyRequest, reply: FastifyReply, source: (signal: AbortSignal) => AsyncIterable<StreamEvent>): Promise<void>;
  /** Ends all streams and refuses further ones. */
  close(): Promise<void>;
}

/**
 * Memory is bounded for each reader: nothing is taken from the source while the connection has not taken what was written,
 * so at most one event lies above the socket's own 16 KiB mark. The sources bound their own buffers.
 */
export function createStreams(limits: StreamLimits, serialize: Serialize, log: Logger): Streams {
  const running = new Map<AbortController, { readonly isOperator: boolean; readonly ended: Promise<void> }>();
  let closed = false;

  const pump = async (
    raw: ServerResponse,
    requestId: string,
    abort: AbortController,
    source: AsyncIterable<StreamEvent>,
  ): Promise<void> => {
    const aborted = new Promise<'aborted'>((resolve) => abort.signal.addEventListener('abort', () => resolve('aborted'), { once: true }));
    const heartbeat = setInterval(() => {
      if (!raw.writableNeedDrain) raw.write(': heartbeat\n\n');
    }, limits.heartbeatMs);
    // The socket holds back some KiB before it says so: a reader that reads nothing is known by what stays there.
    let isTooSlow = false;
    const reading = watchReading(raw, limits.slowReaderMs, () => {
      isTooSlow = true;
      abort.abort();
    });
    const iterator = source[Symbol.asyncIterator]();
    let lastWords = ': end\n\n';
    try {
      while (!abort.signal.aborted) {
        const step = await Promise.race([iterator.next(), aborted]);
        if (step === 'aborted' || step.done === true) break;
        const { id, data } = step.value;
        const taken = raw.write(`${id === undefined ? '' : `id: ${id}\n`}data: ${serialize(data)}\n\n`);
        if (!taken && !(await drained(raw, abort.signal, limits.slowReaderMs))) {
          lastWords = TOO_SLOW;
          break;
        }
      }
      if (isTooSlow) lastWords = TOO_SLOW;
      if (closed) lastWords = ': the agent is stopping\n\n';
    } catch (error) {
      const { answer } = toAnswer(error, requestId);
      if (answer.code === 'INTERNAL') log.error({ err: error, requestId }, 'event stream failed');
      lastWords = `event: problem\ndata: ${JSON.stringify(errorDocument(answer))}\n\n`;
    } finally {
      clearInterval(heartbeat);
      clearInterval(reading);
      abort.abort();
      // Not awaited: a source that ignores its signal must not hold the place.
      iterator.return?.().catch(() => undefined);
      await farewell(raw, lastWords);
    }
  };

  return {
    get open() {
      return running.size;
    },
    async serve(request, reply, source) {
      reply.header('content-type', 'text/event-stream; charset=utf-8').header('x-accel-buffering', 'no');
      if (request.method === 'HEAD') return void reply.send('');
      if (closed) throw new AgentError('AGENT_NOT_RUNNING', 'the agent is stopping');
      const isOperator = limits.isOperator(request);
      const others = [...running.values()].filter((stream) => stream.isOperator === isOperator).length;
      if (others >= limits.max)
        throw new AgentError(
          'TOO_MANY_STREAMS',
          `${limits.max} event streams ${isOperator ? 'of operators ' : 'without a token '}are open, which is the limit`,
        );
      const abort = new AbortController();
      const events = source(abort.signal);
      reply.hijack();
      const { raw } = reply;
      raw.on('error', () => abort.abort());
      raw.on('close', () => abort.abort());
      if (raw.destroyed) abort.abort();
      raw.writeHead(200, reply.getHeaders() as Record<string, string>);
      raw.write('retry: 3000\n: open\n\n');
      const ended = pump(raw, request.id, abort, events).finally(() => running.delete(abort));
      running.set(abort, { isOperator, ended });
    },
    async close() {
      closed = true;
      const ends = [...running.values()].map(({ ended }) => ended);
      for (const abort of running.keys()) abort.abort();
      await Promise.allSettled(ends);
    },
  };
}

/** Calls back when something waits to be sent and nothing of it went out for so long. */
function watchReading(raw: ServerResponse, limitMs: number, onStuck: () => void): NodeJS.Timeout {
  let sent = 0;
  let since = performance.now();
  const look = (): void => {
    const { socket } = raw;
    if (socket === null) return;
    const now = socket.bytesWritten - socket.writableLength;
    if (socket.writableLength === 0 || now !== sent) {
      sent = now;
      since = performance.now();
    } else if (performance.now() - since >= limitMs) onStuck();
  };
  return setInterval(look, Math.max(10, limitMs / 5));
}

/** @returns false when the reader took nothing for too long */
function drained(raw: ServerResponse, signal: AbortSignal, limitMs: number): Promise<boolean> {
  return new Promise((resolve) => {
    const done = (inTime: boolean) => () => {
      clearTimeout(timer);
      raw.off('drain', onDrain);
      signal.removeEventListener('abort', onAbort);
      resolve(inTime);
    };
    const onDrain = done(true);
    const onAbort = done(true);
    const timer = setTimeout(done(false), limitMs);
    raw.once('drain', onDrain);
    signal.addEventListener('abort', onAbort, { once: true });
    if (signal.aborted) onAbort();
  });
}

function farewell(raw: ServerResponse, words: string): Promise<void> {
  if (raw.destroyed || raw.writableEnded) return Promise.resolve();
  return new Promise((resolve) => {
    const timer = setTimeout(() => raw.destroy(), FAREWELL_MS);
    raw.once('close', () => {
      clearTimeout(timer);
      resolve();
    });
    raw.end(words);
  });
}
