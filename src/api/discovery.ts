import { z } from 'zod';
import type { Agent } from '../domain/agent.ts';
import { ErrorDocument } from '../domain/errors/document.ts';
import { DiscoveryDocument, PrometheusTargets } from '../domain/instances/discovery.ts';
import { type App, about, refusals } from './app-types.ts';
import type { StreamEvent, Streams } from './streams.ts';

const TAG = 'discovery';

/** What worker connectors and Prometheus ask: open, like health. */
export function discoveryRoutes(app: App, agent: Agent, streams: Streams): void {
  app.get(
    '/v1/discovery',
    {
      config: { access: 'open' },
      schema: {
        ...about(TAG, 'getDiscovery', 'Every instance with its address, ready or not'),
        response: { 200: DiscoveryDocument, ...refusals.open },
      },
    },
    () => agent.discovery(),
  );
  app.get(
    '/v1/discovery/events',
    {
      config: { access: 'open', stream: true },
      schema: {
        ...about(TAG, 'followDiscovery', 'The discovery document now and after each change', 'Server-Sent Events; `data` is the document'),
        response: {
          200: { description: 'event stream', content: { 'text/event-stream': { schema: DiscoveryDocument } } },
          503: ErrorDocument,
          ...refusals.open,
        },
      },
    },
    (request, reply) => streams.serve(request, reply, (signal) => asEvents(agent.discoveryEvents(signal))),
  );
  app.get(
    '/v1/discovery/prometheus',
    {
      config: { access: 'open' },
      schema: {
        ...about(TAG, 'getPrometheusTargets', 'HTTP service discovery of Prometheus'),
        response: { 200: PrometheusTargets, ...refusals.open },
      },
    },
    () => agent.prometheusTargets(),
  );
  app.get(
    '/metrics',
    {
      config: { access: 'open' },
      schema: {
        ...about(TAG, 'getMetrics', 'Figures for Prometheus'),
        response: { 200: { description: 'Prometheus text format', content: { 'text/plain': { schema: z.string() } } }, ...refusals.open },
      },
    },
    async (_request, reply) => reply.type('text/plain; version=0.0.4; charset=utf-8').send(await agent.metrics()),
  );
}

/** Documents as events without an id: the newest one holds all, so nothing is missed by connecting again. */
export async function* asEvents<T extends object>(documents: AsyncIterable<T>): AsyncIterable<StreamEvent> {
  for await (const data of documents) yield { data };
}
