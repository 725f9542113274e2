import { z } from 'zod';
import type { Agent } from '../domain/agent.ts';
import { ErrorDocument } from '../domain/errors/document.ts';
import { OperationDocument, OperationRequest } from '../domain/operation.ts';
import { type App, about, refusals, secured } from './app-types.ts';
import { asEvents } from './discovery.ts';
import type { Streams } from './streams.ts';

const TAG = 'operations';
const OperationReference = z.object({ id: z.string().min(1).max(80) });
export const OperationList = z.array(OperationDocument);

/** Long work: asked for with a POST, followed by its id. */
export function operationRoutes(app: App, agent: Agent, streams: Streams): void {
  app.post(
    '/v1/operations',
    {
      config: { access: 'change' },
      schema: {
        ...about(
          TAG,
          'startOperation',
          'Start long work',
          'One at a time for each target: asking again answers with the one that runs. `Location` names it.',
        ),
        ...secured.change,
        body: OperationRequest,
        response: { 202: OperationDocument, 404: ErrorDocument, 409: ErrorDocument, ...refusals.change },
      },
    },
    async (request, reply) => {
      const operation = await agent.startOperation(request.body);
      return reply
        .code(202)
        .header('location', `/v1/operations/${encodeURIComponent(operation.id)}`)
        .send(operation);
    },
  );
  app.get(
    '/v1/operations',
    {
      config: { access: 'read' },
      schema: {
        ...about(TAG, 'listOperations', 'Operations that run, and the last ones that ended'),
        ...secured.read,
        response: { 200: OperationList, ...refusals.read },
      },
    },
    async () => [...(await agent.operations())],
  );
  app.get(
    '/v1/operations/:id',
    {
      config: { access: 'read' },
      schema: {
        ...about(TAG, 'getOperation', 'One operation'),
        ...secured.read,
        params: OperationReference,
        response: { 200: OperationDocument, 404: ErrorDocument, ...refusals.read },
      },
    },
    (request) => agent.operation(request.params.id),
  );
  app.get(
    '/v1/operations/:id/events',
    {
      config: { access: 'read', stream: true },
      schema: {
        ...about(
          TAG,
          'followOperation',
          'Every change of one operation',
          'Server-Sent Events: the present state first; the stream ends with the operation',
        ),
        ...secured.read,
        params: OperationReference,
        response: {
          200: { description: 'event stream', content: { 'text/event-stream': { schema: OperationDocument } } },
          404: ErrorDocument,
          503: ErrorDocument,
          ...refusals.read,
        },
      },
    },
    async (request, reply) => {
      // Asked first, so that an unknown id is a 404 and not a broken stream.
      const { id } = await agent.operation(request.params.id);
      return streams.serve(request, reply, (signal) => asEvents(agent.followOperation(id, signal)));
    },
  );
}
