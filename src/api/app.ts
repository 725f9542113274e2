import { hostname } from 'node:os';
import type { FastifyRequest } from 'fastify';
import type { z } from 'zod';
import type { Agent } from '../domain/agent.ts';
import { AgentError } from '../domain/errors/errors.ts';
import { isTooDeep, MAX_DEPTH } from '../domain/text/depth.ts';
import { VERSION_HEADER } from '../domain/versions.ts';
import type { Assets } from '../ports/files.ts';
import type { Logger } from '../ports/logs.ts';
import type { App, Transport } from './app-types.ts';
import { boundConnections, type Connections } from './connections.ts';
import { discoveryRoutes } from './discovery.ts';
import { answerClientError, BODY_LIMIT, installErrorAnswers, sendError } from './error-answers.ts';
import { isAllowedOrigin, type RequestFacts, refusal } from './guards.ts';
import { healthRoutes } from './health.ts';
import { instanceRoutes } from './instances.ts';
import { machineRoutes } from './machine.ts';
import { operationRoutes } from './operations.ts';
import { pageRoutes } from './pages.ts';
import type { Serialize } from './serialize.ts';
import type { Streams } from './streams.ts';

export interface AppOptions {
  readonly transport: Transport;
  readonly token: string | null;
  readonly allowedHosts: readonly string[];
  readonly allowedOrigins: readonly string[];
  readonly loopback: boolean;
  readonly assets: Assets;
  readonly log: Logger;
  /** The name that the TCP server was told to listen on; null before. */
  readonly listenHost: () => string | null;
  /** Of this transport alone: readers over TCP cannot shut out the command line. */
  readonly streams: Streams;
  readonly openApi: () => Promise<object>;
}

/** Any of what proxies add: the peer is not who asks then, and being on loopback says nothing. */
const PROXIED = /^(?:via|forwarded|x-forwarded(?:-.*)?|x-real-ip|x-client-ip|x-original-.*|true-client-ip|cf-connecting-ip)$/;
const MAX_HEADER_BYTES = 16 * 1024;
/** What arrives slowly is ended at its limit, within this. */
const TIMES_CHECKED_MS = 1_000;

/** The one set of routes, for one transport. */
export async function buildApp(
  agent: Agent,
  options: AppOptions,
  serialize: Serialize,
  beforeRoutes?: (app: App) => Promise<void>,
): Promise<App> {
  const { fastify } = await import('fastify');
  const { log } = options;
  const app: App = fastify({
    bodyLimit: BODY_LIMIT,
    requestTimeout: 10_000,
    // Without traffic for this long a connection is dropped; streams send a comment more often.
    connectionTimeout: 60_000,
    keepAliveTimeout: 65_000,
    http: { maxHeaderSize: MAX_HEADER_BYTES, headersTimeout: 10_000, connectionsCheckingInterval: TIMES_CHECKED_MS },
    forceCloseConnections: true,
    return503OnClosing: false,
    routerOptions: { maxParamLength: 100 },
    clientErrorHandler: answerClientError,
    frameworkErrors: (error, request, reply) => sendError(error, request, reply, log),
    // Given here, so that fastify loads neither ajv nor fast-json-stringify. Its type knows ajv only.
    schemaController: { compilersFactory: { buildValidator: (() => validatorCompiler) as never, buildSerializer: () => () => serialize } },
  });
  const connections = boundConnections(app.server, log);
  app.setReplySerializer(serialize);
  // JSON only: a web page can post text/plain anywhere without asking.
  app.removeContentTypeParser('text/plain');
  installErrorAnswers(app, log);
  guardAll(app, options, (await agent.version()).agent, connections);
  refuseOtherMethods(app, collectMethods(app));
  app.addHook('preValidation', async ({ body }) => {
    if (isTooDeep(body)) throw new AgentError('REQUEST_INVALID', `the body is nested deeper than ${MAX_DEPTH} levels`);
  });
  await beforeRoutes?.(app);

  healthRoutes(app, agent);
  discoveryRoutes(app, agent, options.streams);
  operationRoutes(app, agent, options.streams);
  instanceRoutes(app, agent, options.streams);
  machineRoutes(app, agent, options.streams);
  pageRoutes(app, options);
  return app;
}

/** zod for what comes in. What goes out is checked by types and tests, not at run time. */
const validatorCompiler = ({ schema, httpPart }: { schema: unknown; httpPart?: string }) => {
  const expected = schema as z.ZodType;
  return (data: unknown): { value: unknown } | { error: Error } => {
    const result = expected.safeParse(data);
    if (result.success) return { value: result.data };
    const problems = result.error.issues.slice(0, 20).map((issue) => ({ path: issue.path.join('.'), message: issue.message }));
    const where = problems[0]?.path === '' ? (httpPart ?? 'request') : `${httpPart ?? 'request'}: ${problems[0]?.path}`;
    return { error: new AgentError('REQUEST_INVALID', `${where}: ${problems[0]?.message ?? 'not valid'}`, { details: { problems } }) };
  };
};

function guardAll(app: App, options: AppOptions, version: string, connections: Connections): void {
  const guard = { ...options, machine: hostname() };
  app.addHook('onRequest', async (request, reply) => {
    reply.headers({
      [VERSION_HEADER]: version,
      'cache-control': 'no-store',
      'x-content-type-options': 'nosniff',
      'referrer-policy': 'no-referrer',
      'cross-origin-resource-policy': 'same-origin',
      'content-security-policy': "default-src 'none'; frame-ancestors 'none'",
    });
    // Answered from what is known, at once: a probe takes no place that another needs.
    if (request.routeOptions.config.probe !== true && connections.isCrowded()) {
      reply.header('connection', 'close');
      throw new AgentError('TOO_MANY_CONNECTIONS', 'almost all connections are taken; the last ones are for health probes');
    }
    if (options.transport === 'socket') return;
    const refused = refusal(factsOf(request, options.listenHost()), guard);
    if (refused !== null) throw refused;
    const { origin } = request.headers;
    if (options.allowedOrigins.length > 0) reply.header('vary', 'Origin');
    if (origin !== undefined && isAllowedOrigin(origin, options)) {
      reply.headers({
        'access-control-allow-origin': origin,
        'access-control-expose-headers': 'Location, Retry-After',
        'cross-origin-resource-policy': 'cross-origin',
      });
    }
  });
  // A preflight changes nothing; without the headers above the browser gives up by itself.
  app.options('/*', { config: { access: 'open' }, schema: { hide: true } }, (request, reply) => {
    const { origin } = request.headers;
    if (options.transport === 'tcp' && origin !== undefined && isAllowedOrigin(origin, options)) {
      reply.headers({
        'access-control-allow-methods': 'GET, HEAD, POST, PATCH',
        'access-control-allow-headers': 'authorization, content-type, last-event-id',
        'access-control-max-age': '600',
      });
    }
    return reply.code(204).send();
  });
}

function factsOf(request: FastifyRequest, listenHost: string | null): RequestFacts {
  const { headers, socket, routeOptions } = request;
  const harmless = request.method === 'GET' || request.method === 'HEAD';
  const single = (value: string | string[] | undefined): string | undefined => (Array.isArray(value) ? value[0] : value);
  return {
    // What is not found says nothing, so it is open to reading; a change must name its kind.
    access: routeOptions.config.access ?? (harmless || request.is404 ? 'open' : 'change'),
    stream: routeOptions.config.stream === true,
    host: headers.host,
    origin: headers.origin,
    fetchSite: single(headers['sec-fetch-site']),
    authorization: headers.authorization,
    forwarded: Object.keys(headers).some((name) => PROXIED.test(name)),
    queryNames: Object.keys((request.query ?? {}) as object),
    remoteAddress: request.ip,
    listenHost,
    localAddress: socket.localAddress ?? null,
    localPort: socket.localPort ?? null,
  };
}

function collectMethods(app: App): ReadonlyMap<string, Set<string>> {
  const methods = new Map<string, Set<string>>();
  app.addHook('onRoute', ({ url, method }) => {
    if (url === '/*') return;
    const known = methods.get(url) ?? new Set<string>();
    for (const name of [method].flat()) known.add(name);
    methods.set(url, known);
  });
  return methods;
}

/** A known path with another method is told apart from an unknown path. The patterns are made at the first one, not at the start. */
function refuseOtherMethods(app: App, methods: ReadonlyMap<string, Set<string>>): void {
  let known: readonly { readonly pattern: RegExp; readonly allow: string }[] | null = null;
  app.addHook('onRequest', async (request, reply) => {
    if (!request.is404) return;
    known ??= [...methods].map(([url, names]) => ({ pattern: patternOf(url), allow: [...names].sort().join(', ') }));
    const path = request.url.split('?')[0] ?? '';
    const found = known.find(({ pattern }) => pattern.test(path));
    if (found === undefined) return;
    reply.header('allow', found.allow);
    throw new AgentError('METHOD_NOT_ALLOWED', `${request.method} is not for this path; it takes ${found.allow}`);
  });
}

/** Of a route like `/v1/operations/:id`. */
const patternOf = (url: string): RegExp =>
  new RegExp(
    `^${url
      .replace(/[.+?^$(){}|[\]\\]/g, '\\$&')
      .replaceAll('*', '.*')
      .replace(/:\w+/g, '[^/]+')}$`,
  );
