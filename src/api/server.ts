import type { FastifyRequest, InjectOptions, LightMyRequestResponse } from 'fastify';
import type { Agent } from '../domain/agent.ts';
import type { Assets } from '../ports/files.ts';
import type { Logger } from '../ports/logs.ts';
import { type AppOptions, buildApp } from './app.ts';
import type { App, Transport } from './app-types.ts';
import { bearsToken } from './guards.ts';
import { identityOf, listenOnSocket, listenOnTcp, removeSocket, type SocketRights } from './listen.ts';
import { describeApi } from './openapi.ts';
import { createSerializer } from './serialize.ts';
import { createStreams, HEARTBEAT_MS, SLOW_READER_MS, type Streams } from './streams.ts';

export interface ApiOptions {
  /** Bearer token for changes over TCP; null: changes only over the socket. */
  readonly token: string | null;
  /** Further Host names to serve; "name" for every port, "name:port" for one. */
  readonly allowedHosts: readonly string[];
  /** Web origins ("https://panel.example") whose pages may use this API. */
  readonly allowedOrigins: readonly string[];
  /** Event streams open at one time, for each transport. */
  readonly maxStreams: number;
  readonly assets: Assets;
  readonly log: Logger;
  /** The address it will listen on is a loopback one: then machine name and other addresses are refused as Host. */
  readonly loopback: boolean;
  /** For tests: default 15 s each. */
  readonly heartbeatMs?: number;
  readonly slowReaderMs?: number;
}

export interface Api {
  /** @returns the address taken; port 0 lets the kernel choose. @throws AgentError LISTEN_FAILED */
  listenTcp(host: string, port: number): Promise<{ host: string; port: number }>;
  /**
   * The socket is 0600 from the start unless other rights are given. May be called again when somebody took it away: whoever is
   * connected stays so. @throws AgentError LISTEN_FAILED
   */
  listenSocket(path: string, rights?: SocketRights): Promise<void>;
  /** Whether what lies there is the socket on which this one listens. */
  hasSocket(): Promise<boolean>;
  /** A request without a connection, for tests. */
  inject(request: InjectOptions, transport?: Transport): Promise<LightMyRequestResponse>;
  /** OpenAPI 3.1, made at the first call. */
  openApi(): Promise<object>;
  /** Ends streams with a last comment, then connections and servers. */
  close(): Promise<void>;
}

interface Built {
  readonly app: App;
  readonly streams: Streams;
}

/** So many may still have readers. */
const RETIRED = 2;

/** The HTTP side of the agent: one set of routes on TCP (guarded) and on the unix socket (guarded by its file mode). */
export async function createApi(agent: Agent, options: ApiOptions): Promise<Api> {
  let listenHost: string | null = null;
  let place: { readonly path: string; readonly identity: string | null } | null = null;
  let described: Promise<object> | null = null;
  const limits = {
    max: options.maxStreams,
    heartbeatMs: options.heartbeatMs ?? HEARTBEAT_MS,
    slowReaderMs: options.slowReaderMs ?? SLOW_READER_MS,
  };
  const serialize = createSerializer();

  const build = async (transport: Transport, beforeRoutes?: (app: App) => Promise<void>): Promise<Built> => {
    // Over the socket everybody is an operator.
    const isOperator = (request: FastifyRequest): boolean =>
      transport === 'socket' || bearsToken(request.headers.authorization, options.token);
    const streams = createStreams({ ...limits, isOperator }, serialize, options.log);
    const appOptions: AppOptions = { ...options, transport, streams, listenHost: () => listenHost, openApi };
    return { app: await buildApp(agent, appOptions, serialize, beforeRoutes), streams };
  };
  const openApi = (): Promise<object> => {
    described ??= describeApi(async (beforeRoutes) => (await build('tcp', beforeRoutes)).app);
    return described;
  };

  const tcp = await build('tcp');
  // Health is asked over TCP: the other one is built when that is served.
  let built: Promise<Built> | null = null;
  const socket = (): Promise<Built> => {
    built ??= build('socket');
    return built;
  };
  /** Those whose socket was taken away, for the sake of whoever is connected to them. */
  const retired: Built[] = [];
  const closeOne = async ({ streams, app }: Built): Promise<void> => {
    await streams.close();
    await app.close();
  };
  return {
    async listenTcp(host, port) {
      listenHost = host;
      if (!options.loopback && options.token === null)
        options.log.warn({ host }, 'listening for other machines without a token: changes and protected documents are refused to them');
      return listenOnTcp(tcp.app, host, port);
    },
    async listenSocket(path, rights = {}) {
      const fresh = await build('socket');
      try {
        await listenOnSocket(fresh.app, path, rights);
      } catch (error) {
        await fresh.app.close();
        throw error;
      }
      if (built !== null) retired.push(await built);
      built = Promise.resolve(fresh);
      place = { path, identity: await identityOf(path) };
      await Promise.all(retired.splice(0, Math.max(0, retired.length - RETIRED)).map(closeOne));
    },
    hasSocket: async () => place !== null && place.identity !== null && (await identityOf(place.path)) === place.identity,
    async inject(request, transport = 'tcp') {
      return (transport === 'tcp' ? tcp : await socket()).app.inject(request);
    },
    openApi,
    async close() {
      const open = built === null ? [tcp] : [tcp, await built];
      await Promise.all([...open, ...retired].map(closeOne));
      if (place !== null) await removeSocket(place.path);
    },
  };
}
