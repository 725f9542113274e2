import { mkdtemp, readdir, rm, stat, writeFile } from 'node:fs/promises';
import { request as httpRequest } from 'node:http';
import { connect, createServer, type Server } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, describe, expect, it } from 'vitest';
import type { Api, ApiOptions } from '../../../src/api/server.ts';
import { fakeAgent } from '../../fakes/agent.ts';
import { anApi, memoryLogger, withToken } from '../../support/machine/api.ts';

const ends: (() => unknown)[] = [];
afterEach(async () => {
  for (const end of ends.splice(0).reverse()) await end();
});

async function start(options: Partial<ApiOptions> = {}): Promise<Api> {
  const api = await anApi(fakeAgent(), options);
  ends.push(() => api.close());
  return api;
}

async function directory(): Promise<string> {
  const path = await mkdtemp(join(tmpdir(), 'agent-api-'));
  ends.push(() => rm(path, { recursive: true, force: true }));
  return path;
}

interface Ask {
  readonly port?: number;
  readonly socketPath?: string;
  readonly path: string;
  readonly method?: string;
  readonly headers?: Record<string, string>;
  readonly body?: object;
}

const ask = ({ body, ...options }: Ask): Promise<{ status: number; text: string }> =>
  new Promise((resolve, reject) => {
    const headers = { ...options.headers, ...(body === undefined ? {} : { 'content-type': 'application/json' }) };
    const outgoing = httpRequest({ host: '127.0.0.1', agent: false, ...options, headers }, (response) => {
      let text = '';
      response.setEncoding('utf8').on('data', (part) => {
        text += part;
      });
      response.on('end', () => resolve({ status: response.statusCode ?? 0, text }));
    });
    outgoing.on('error', reject);
    outgoing.end(body === undefined ? undefined : JSON.stringify(body));
  });

describe('TCP', () => {
  it('listens on a port of the kernel and guards it', async () => {
    const api = await start();
    const { host, port } = await api.listenTcp('127.0.0.1', 0);
    expect([host, port > 0]).toEqual(['127.0.0.1', true]);
    const statuses = async (path: string, ...requests: Omit<Ask, 'path'>[]) =>
      Promise.all(requests.map(async (request) => (await ask({ port, path, ...request })).status));
    expect(
      await statuses(
        '/health',
        {},
        { headers: { host: 'evil.example' } },
        { headers: { host: `127.0.0.1:${port + 1}` } },
        { headers: { host: `localhost:${port}` } },
      ),
    ).toEqual([200, 403, 403, 200]);
    expect(
      await statuses(
        '/v1/state',
        {},
        { headers: { origin: 'https://evil.example' } },
        { headers: { origin: `http://127.0.0.1:${port}` } },
        { headers: { 'sec-fetch-site': 'cross-site' } },
      ),
    ).toEqual([200, 403, 200, 403]);
    const change = { method: 'POST', body: { kind: 'install' } };
    expect(
      await statuses(
        '/v1/operations',
        change,
        { ...change, headers: withToken },
        { ...change, headers: { authorization: 'Bearer wrong' } },
      ),
    ).toEqual([401, 202, 401]);
    for (const name of ['x-forwarded-for', 'x-forwarded-host', 'x-forwarded-proto', 'forwarded', 'via', 'x-real-ip'])
      expect([name, ...(await statuses('/v1/state', { headers: { [name]: '10.0.0.1' } }))]).toEqual([name, 401]);
  });

  it('refuses a body that is nested without end, in words', async () => {
    const api = await start();
    const payload = `{"kind":"install","packs":${'['.repeat(20_000)}${']'.repeat(20_000)}}`;
    const answer = await api.inject({
      method: 'POST',
      url: '/v1/operations',
      headers: { ...withToken, 'content-type': 'application/json' },
      payload,
    });
    expect([answer.statusCode, JSON.parse(answer.body).error]).toMatchObject([
      400,
      { code: 'REQUEST_INVALID', message: 'the body is nested deeper than 64 levels' },
    ]);
  });

  it('serves open routes to other machines without a token, and says that changes are refused', async () => {
    const log = memoryLogger();
    const api = await start({ token: null, loopback: false, log });
    const { port } = await api.listenTcp('0.0.0.0', 0);
    expect((await ask({ port, path: '/health' })).status).toBe(200);
    const refused = await ask({ port, path: '/v1/instances/0', method: 'PATCH', body: { drain: true } });
    expect(refused.status).toBe(401);
    expect(JSON.parse(refused.text).error.message).toBe('a change over TCP needs a token, and this agent has none');
    expect(log.entries.map((entry) => entry.level)).toEqual(['warn']);
    const elsewhere = await api.inject({ url: '/v1/state', remoteAddress: '10.0.0.9' });
    expect(elsewhere.statusCode).toBe(401);
  });

  it('says who cannot listen and why', async () => {
    const first = await start();
    const { port } = await first.listenTcp('127.0.0.1', 0);
    const second = await start();
    await expect(second.listenTcp('127.0.0.1', port)).rejects.toMatchObject({
      code: 'LISTEN_FAILED',
      message: expect.stringContaining('another program listens there'),
    });
  });

  it.each([
    ['no HTTP at all', 'HELLO\r\n\r\n', 400],
    ['endless headers', `GET / HTTP/1.1\r\nhost: localhost\r\nx: ${'y'.repeat(20_000)}\r\n\r\n`, 431],
  ])('answers %s in the shape of all errors', async (_name, bytes, status) => {
    const api = await start();
    const { port } = await api.listenTcp('127.0.0.1', 0);
    const answer = await new Promise<string>((resolve, reject) => {
      const socket = connect(port, '127.0.0.1', () => socket.write(bytes));
      let text = '';
      socket.setEncoding('utf8').on('data', (part) => {
        text += part;
      });
      socket.on('end', () => resolve(text)).on('error', reject);
    });
    expect(answer).toMatch(new RegExp(`^HTTP/1.1 ${status} `));
    expect(JSON.parse(answer.split('\r\n\r\n')[1] ?? '').error.code).toBe('REQUEST_INVALID');
  });
});

describe('unix socket', () => {
  it('is for its owner only, asks for no token, and is gone after closing', async () => {
    const root = await directory();
    const path = join(root, 'agent.sock');
    const api = await start({ token: null });
    await api.listenSocket(path);
    expect((await stat(path)).mode & 0o777).toBe(0o600);
    expect(
      (await ask({ socketPath: path, path: '/v1/operations', method: 'POST', body: { kind: 'install' }, headers: { host: 'anything' } }))
        .status,
    ).toBe(202);
    expect(await readdir(root)).toEqual(['agent.sock']);
    await api.close();
    expect(await readdir(root)).toEqual([]);
  });

  it('takes the rights it is given', async () => {
    const path = join(await directory(), 'agent.sock');
    await (await start()).listenSocket(path, { mode: 0o660, gid: process.getgid?.() ?? 0 });
    expect((await stat(path)).mode & 0o777).toBe(0o660);
  });

  it('replaces what a dead agent left behind', async () => {
    const path = join(await directory(), 'agent.sock');
    await writeFile(path, '');
    const api = await start();
    await api.listenSocket(path);
    expect((await ask({ socketPath: path, path: '/health' })).status).toBe(200);
  });

  it('leaves a living one alone', async () => {
    const path = join(await directory(), 'agent.sock');
    const other: Server = createServer((socket) => socket.end());
    await new Promise<void>((resolve) => other.listen(path, resolve));
    ends.push(() => new Promise((resolve) => other.close(resolve)));
    await expect((await start()).listenSocket(path)).rejects.toMatchObject({
      code: 'LISTEN_FAILED',
      message: expect.stringContaining('already answers'),
    });
    expect((await stat(path)).isSocket()).toBe(true);
  });

  it('tells a missing directory and a path that is too long', async () => {
    const root = await directory();
    await expect((await start()).listenSocket(join(root, 'none', 'agent.sock'))).rejects.toMatchObject({
      code: 'LISTEN_FAILED',
      message: expect.stringContaining('does not exist'),
    });
    expect(await readdir(root)).toEqual([]);
  });
});
