import type { InjectOptions, LightMyRequestResponse } from 'fastify';
import type { Agent } from '../domain/agent.ts';
import type { Assets, Logger } from '../ports.ts';
import { type AppOptions, buildApp } from './app.ts';
import type { App, Transport } from './app-types.ts';
import { listenOnSocket, listenOnTcp, removeSocket, type SocketRights } from './listen.ts';
import { describeApi } from './openapi.ts';
import { createSerializer } from './serialize.ts';
import { createStreams, HEARTBEAT_MS, SLOW_READER_MS } from './streams.ts';

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
  /** The socket is 0600 from the start unless other rights are given. @throws AgentError LISTEN_FAILED */
  listenSocket(path: string, rights?: SocketRights): Promise<void>;
  /** A request without a connection, for tests. */
  inject(request: InjectOptions, transport?: Transport): Promise<LightMyRequestResponse>;
  /** OpenAPI 3.1, made at the first call. */
  openApi(): Promise<object>;
  /** Ends streams with a last comment, then connections and servers. */
  close(): Promise<void>;
}

/** The HTTP side of the agent: one set of routes on TCP (guarded) and on the unix socket (guarded by its file mode). */
export async function createApi(agent: Agent, options: ApiOptions): Promise<Api> {
  let listenHost: string | null = null;
  let socketPath: string | null = null;
  let described: Promise<object> | null = null;
  const limits = {
    max: options.maxStreams,
    heartbeatMs: options.heartbeatMs ?? HEARTBEAT_MS,
    slowReaderMs: options.slowReaderMs ?? SLOW_READER_MS,
  };
  const serialize = createSerializer();

  const build = async (transport: Transport, beforeRoutes?: (app: App) => Promise<void>) => {
    const streams = createStreams(limits, serialize, options.log);
    const appOptions: AppOptions = { ...options, transport, streams, listenHost: () => listenHost, openApi };
    return { app: await buildApp(agent, appOptions, serialize, beforeRoutes), streams };
  };
  const openApi = (): Promise<object> => {
    described ??= describeApi(async (beforeRoutes) => (await build('tcp', beforeRoutes)).app);
    return described;
  };

  const tcp = await build('tcp');
  // Health is asked over TCP: the other one is built when that is served.
  let built: ReturnType<typeof build> | null = null;
  const socket = (): ReturnType<typeof build> => {
    built ??= build('socket');
    return built;
  };
  return {
    async listenTcp(host, port) {
      listenHost = host;
      if (!options.loopback && options.token === null)
        options.log.warn({ host }, 'listening for other machines without a token: changes and protected documents are refused to them');
      return listenOnTcp(tcp.app, host, port);
    },
    async listenSocket(path, rights = {}) {
      await listenOnSocket((await socket()).app, path, rights);
      socketPath = path;
    },
    async inject(request, transport = 'tcp') {
      return (transport === 'tcp' ? tcp : await socket()).app.inject(request);
    },
    openApi,
    async close() {
      const open = built === null ? [tcp] : [tcp, await built];
      await Promise.all(open.map(({ streams }) => streams.close()));
      await Promise.all(open.map(({ app }) => app.close()));
      if (socketPath !== null) await removeSocket(socketPath);
    },
  };
}
