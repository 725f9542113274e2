import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import { type AddressInfo, connect, createServer as createTcpServer } from 'node:net';
import { eventually } from '../eventually.ts';

export interface GitHttpServer {
  readonly port: number;
  /** Paths asked for, in order. */
  readonly requests: string[];
  /** Requests that are held open and never answered. */
  readonly held: () => number;
  close(): Promise<void>;
}

export interface GitHttpOptions {
  /** Serves the repositories below this directory. */
  readonly directory: string;
  /** "user:password" that every request must carry. */
  readonly credentials?: string;

  readonly onRequest?: (request: IncomingMessage) => void;
  /** Another place for a path. */
  readonly redirect?: (path: string, authorized: boolean) => string | null;
  /** Git LFS objects by id, served by the batch API. */
  readonly lfs?: ReadonlyMap<string, string>;
  /** What to do instead of serving: an HTTP status, or never answer (after the first bytes of the body). */
  readonly instead?: (path: string) => number | 'hold' | null;
}

/** git's smart HTTP on loopback: node passes each request to `git http-backend` (CGI). */
export async function startGitHttp(options: GitHttpOptions): Promise<GitHttpServer> {
  const requests: string[] = [];
  let held = 0;
  const server = createServer((request, response) => {
    const path = request.url ?? '';
    requests.push(path);
    options.onRequest?.(request);
    const expected = options.credentials === undefined ? null : `Basic ${Buffer.from(options.credentials).toString('base64')}`;
    const instead = options.instead?.(path) ?? null;
    const location = options.redirect?.(path, request.headers.authorization !== undefined) ?? null;
    if (location !== null) {
      response.writeHead(302, { location }).end();
    } else if (instead === 'hold') {
      held++;
      response.writeHead(200, { 'content-type': 'application/x-git-upload-pack-result' });
      response.flushHeaders();
    } else if (instead !== null) {
      response.writeHead(instead).end('no');
    } else if (expected !== null && request.headers.authorization !== expected) {
      response.writeHead(401, { 'www-authenticate': 'Basic realm="git"' }).end();
    } else if (options.lfs !== undefined && path.includes('/lfs-object/')) {
      response.end(options.lfs.get(path.split('/').at(-1) ?? ''));
    } else if (options.lfs !== undefined && path.endsWith('/info/lfs/objects/batch')) {
      void answerBatch(request, response, options.lfs);
    } else {
      backend(options.directory, request, response);
    }
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return {
    port: (server.address() as AddressInfo).port,
    requests,
    held: () => held,
    close: async () => {
      server.closeAllConnections();
      server.close();
      await once(server, 'close');
    },
  };
}

async function answerBatch(request: IncomingMessage, response: ServerResponse, objects: ReadonlyMap<string, string>): Promise<void> {
  let text = '';
  for await (const chunk of request) text += String(chunk);
  const asked = (JSON.parse(text) as { objects: { oid: string; size: number }[] }).objects;
  const answer = asked.map(({ oid, size }) => ({
    oid,
    size,
    ...(objects.has(oid)
      ? { actions: { download: { href: `http://${request.headers.host}/lfs-object/${oid}` } } }
      : { error: { code: 404, message: 'gone' } }),
  }));
  response.writeHead(200, { 'content-type': 'application/vnd.git-lfs+json' }).end(JSON.stringify({ transfer: 'basic', objects: answer }));
}

function backend(directory: string, request: IncomingMessage, response: ServerResponse): void {
  const url = new URL(request.url ?? '/', 'http://localhost');
  const child = spawn('git', ['http-backend'], {
    env: {
      PATH: process.env['PATH'] ?? '/usr/bin:/bin',
      GIT_PROJECT_ROOT: directory,
      GIT_HTTP_EXPORT_ALL: '1',
      GIT_CONFIG_NOSYSTEM: '1',
      GIT_CONFIG_COUNT: '1',
      GIT_CONFIG_KEY_0: 'safe.directory',
      GIT_CONFIG_VALUE_0: '*',
      HOME: '/nonexistent',
      PATH_INFO: decodeURIComponent(url.pathname),
      QUERY_STRING: url.search.slice(1),
      REQUEST_METHOD: request.method ?? 'GET',
      CONTENT_TYPE: request.headers['content-type'] ?? '',
      HTTP_CONTENT_ENCODING: String(request.headers['content-encoding'] ?? ''),
      GIT_PROTOCOL: String(request.headers['git-protocol'] ?? ''),
      REMOTE_ADDR: '127.0.0.1',
    },
    stdio: ['pipe', 'pipe', 'ignore'],
  });
  child.stdin.on('error', () => {});
  request.pipe(child.stdin);
  let head = Buffer.alloc(0);
  let began = false;
  child.stdout.on('data', (chunk: Buffer) => {
    if (began) return void response.write(chunk);
    head = Buffer.concat([head, chunk]);
    const end = head.indexOf('\r\n\r\n');
    if (end < 0) return;
    began = true;
    let status = 200;
    for (const line of head.toString('latin1', 0, end).split('\r\n')) {
      const [name = '', ...value] = line.split(': ');
      if (name.toLowerCase() === 'status') status = Number.parseInt(value.join(': '), 10);
      else response.setHeader(name, value.join(': '));
    }
    response.writeHead(status);
    response.write(head.subarray(end + 4));
  });
  child.stdout.on('end', () => response.end());
}

/** A port on loopback where nothing listens. */
export async function closedPort(): Promise<number> {
  const server = createTcpServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  server.close();
  await once(server, 'close');
  return port;
}

/** `git daemon` on a free port; null where git was installed without it. */
export async function startGitDaemon(directory: string): Promise<{ port: number; close(): Promise<void> } | null> {
  const port = await closedPort();
  const child = spawn(
    'git',
    ['daemon', '--export-all', `--base-path=${directory}`, '--listen=127.0.0.1', `--port=${port}`, '--reuseaddr'],
    {
      env: { PATH: process.env['PATH'] ?? '/usr/bin:/bin', HOME: '/nonexistent' },
      stdio: 'ignore',
      detached: true,
    },
  );
  const close = (): Promise<void> => endGroup(child);
  try {
    await eventually('git daemon listens', () => child.exitCode !== null || accepts(port));
  } catch (error) {
    await close();
    throw error;
  }
  return child.exitCode === null ? { port, close } : null;
}

export const accepts = (port: number): Promise<boolean> =>
  new Promise((resolve) => {
    const socket = connect(port, '127.0.0.1');
    socket.once('connect', () => resolve(true)).once('error', () => resolve(false));
    socket.once('connect', () => socket.destroy());
  });

/** Ends a child that leads its own process group. */
export async function endGroup(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null || child.pid === undefined) return;
  const ended = once(child, 'exit');
  process.kill(-child.pid, 'SIGKILL');
  await ended;
}
