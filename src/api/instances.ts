import type { FastifyReply, FastifyRequest } from 'fastify';
import { z } from 'zod';
import type { Agent, LogQuery } from '../domain/agent.ts';
import { ErrorDocument } from '../domain/errors/document.ts';
import { AgentError } from '../domain/errors/errors.ts';
import { InstanceDocument, InstancePatch } from '../domain/instances/instance.ts';
import { LogLine } from '../domain/journal.ts';
import { type App, about, refusals, secured } from './app-types.ts';
import { asEvents } from './discovery.ts';
import { GpuReference } from './health.ts';
import { logQuery, MAX_LINES } from './queries.ts';
import type { Streams } from './streams.ts';

const TAG = 'instances';
/** Limit on an answer that is not streamed. */
const MAX_LOG_BYTES = 8 * 1024 * 1024;

export const LogLines = z.array(LogLine);
const logAnswer = {
  200: {
    description: 'log lines, oldest first; one event for each line when followed',
    content: { 'application/json': { schema: LogLines }, 'text/event-stream': { schema: LogLine } },
  },
  404: ErrorDocument,
  503: ErrorDocument,
  ...refusals.read,
};
const LogSource = z.string().regex(/^(all|agent|install|pm2|\d{1,3})$/, 'a GPU index, agent, install, pm2 or all');

/** What an operator asks of one instance, and log lines. */
export function instanceRoutes(app: App, agent: Agent, streams: Streams): void {
  app.patch(
    '/v1/instances/:gpu',
    {
      config: { access: 'change' },
      schema: {
        ...about(
          TAG,
          'patchInstance',
          'Run, stop, drain, cordon, or end a quarantine',
          'Answers at once with the document; the change itself is seen in it later',
        ),
        ...secured.change,
        params: GpuReference,
        body: InstancePatch,
        response: { 200: InstanceDocument, 404: ErrorDocument, 503: ErrorDocument, ...refusals.change },
      },
    },
    (request) => agent.patchInstance(request.params.gpu, request.body),
  );
  app.get(
    '/v1/instances/:gpu/logs',
    {
      config: { access: 'read', stream: true },
      schema: {
        ...about(TAG, 'getInstanceLogs', 'Log lines of one instance'),
        ...secured.read,
        params: GpuReference,
        querystring: z.object(logQuery),
        response: logAnswer,
      },
    },
    async (request, reply) => {
      const { gpu, status, port } = await agent.instance(request.params.gpu);
      // Before the cards were seen a UUID names no index yet: another instance's lines would be a lie.
      if (status === 'unknown' && port === null && !/^\d+$/.test(request.params.gpu))
        throw new AgentError('GPU_QUERY_FAILED', 'the GPUs were not seen yet');
      return sendLogs(request, reply, agent, streams, toLogQuery(String(gpu), request.query));
    },
  );
  app.get(
    '/v1/logs',
    {
      config: { access: 'read', stream: true },
      schema: {
        ...about(TAG, 'getLogs', 'Log lines of the agent, an installation, PM2, an instance or all'),
        ...secured.read,
        querystring: z.object({ source: LogSource.default('all').describe('a GPU index, agent, install, pm2 or all'), ...logQuery }),
        response: logAnswer,
      },
    },
    (request, reply) => sendLogs(request, reply, agent, streams, toLogQuery(request.query.source, request.query)),
  );
}

const toLogQuery = (source: string, query: { lines: number; follow: boolean; since?: number | undefined }): LogQuery => ({
  source,
  lines: query.lines,
  follow: query.follow,
  ...(query.since === undefined ? {} : { since: query.since }),
});

/** Followed, or asked for as an event stream: events. Else a bounded list. */
async function sendLogs(request: FastifyRequest, reply: FastifyReply, agent: Agent, streams: Streams, query: LogQuery): Promise<void> {
  const wantsEvents = query.follow || (request.headers.accept ?? '').includes('text/event-stream');
  if (wantsEvents) return streams.serve(request, reply, (signal) => asEvents(agent.logs(query, signal)));
  const abort = new AbortController();
  reply.raw.once('close', () => abort.abort());
  const lines: LogLine[] = [];
  let bytes = 0;
  for await (const line of agent.logs(query, abort.signal)) {
    lines.push(line);
    bytes += Buffer.byteLength(line.line);
    if (lines.length >= MAX_LINES || bytes >= MAX_LOG_BYTES) break;
  }
  void reply.send(lines);
}
