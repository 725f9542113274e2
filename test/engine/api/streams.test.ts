import { createServer, get, Agent as HttpAgent, type IncomingMessage, type ServerResponse } from 'node:http';
import { type AddressInfo, connect } from 'node:net';
import { afterEach, describe, expect, it } from 'vitest';
import type { Api, ApiOptions } from '../../../src/api/server.ts';
import { createStreams } from '../../../src/api/streams.ts';
import type { Agent } from '../../../src/domain/agent.ts';
import { AgentError } from '../../../src/domain/errors/errors.ts';
import { type FakeAgentOptions, fakeAgent } from '../../fakes/agent.ts';
import { eventually } from '../../support/eventually.ts';
import { anApi, memoryLogger, withToken } from '../../support/machine/api.ts';
import { aJournalEvent } from '../../support/machine/documents.ts';
import { aVersionDocument } from '../../support/machine/machine-documents.ts';

const ends: (() => unknown)[] = [];
afterEach(async () => {
  for (const end of ends.splice(0).reverse()) await end();
});

async function serve(agentOptions: FakeAgentOptions = {}, apiOptions: Partial<ApiOptions> = {}) {
  const agent = fakeAgent(agentOptions);
  const api: Api = await anApi(agent, apiOptions);
  ends.push(() => api.close());
  const { port } = await api.listenTcp('127.0.0.1', 0);
  return { agent, api, port };
}

interface Reader {
  readonly response: IncomingMessage;
  readonly text: () => string;
  readonly ended: () => boolean;
  readonly leave: () => void;
}

function read(port: number, path: string, headers: Record<string, string> = {}): Promise<Reader> {
  return new Promise((resolve, reject) => {
    const request = get({ host: '127.0.0.1', port, path, headers, agent: new HttpAgent() }, (response) => {
      let text = '';
      let ended = false;
      response.setEncoding('utf8').on('data', (part) => {
        text += part;
      });
      response.on('close', () => {
        ended = true;
      });
      response.on('error', () => undefined);
      resolve({ response, text: () => text, ended: () => ended, leave: () => request.destroy() });
    });
    request.on('error', reject);
    ends.push(() => request.destroy());
  });
}

/** Waits until the assertion holds. */
const untilHolds = (assertion: () => unknown) =>
  eventually('the assertion holds', async () => {
    await assertion();
    return true;
  });

const datas = (text: string): { id: number; message: string }[] =>
  [...text.matchAll(/^data: (.*)$/gm)].map((match) => JSON.parse(match[1] ?? ''));

describe('event streams', () => {
  it('sends the backlog, then what happens, with ids', async () => {
    const { agent, port } = await serve();
    const reader = await read(port, '/v1/events');
    expect(reader.response.headers).toMatchObject({ 'content-type': 'text/event-stream; charset=utf-8', 'cache-control': 'no-store' });
    expect(reader.response.headers['x-agent-version']).toBe(aVersionDocument().agent);
    await untilHolds(() => expect(datas(reader.text())).toHaveLength(2));
    await untilHolds(() => expect(agent.followers).toBe(1));
    agent.record({ message: 'one more' });
    await untilHolds(() => expect(datas(reader.text()).at(-1)).toMatchObject({ id: 3, message: 'one more' }));
    expect(reader.text()).toContain('id: 3\ndata: {');
    reader.leave();
    await untilHolds(() => expect(agent.followers).toBe(0));
  });

  it('gives a reader that comes back what it missed', async () => {
    const { port } = await serve({ journal: [1, 2, 3, 4].map((id) => aJournalEvent(id)) });
    const reader = await read(port, '/v1/events?follow=0', { 'last-event-id': '2' });
    await untilHolds(() => expect(reader.ended()).toBe(true));
    expect(datas(reader.text()).map((entry) => entry.id)).toEqual([3, 4]);
  });

  it('gives a reader whose last id the journal never gave what it has, as to a new one', async () => {
    const { port } = await serve({ journal: [1, 2, 3].map((id) => aJournalEvent(id)) });
    const reader = await read(port, '/v1/events?follow=0&backlog=2', { 'last-event-id': '900' });
    await untilHolds(() => expect(reader.ended()).toBe(true));
    expect(datas(reader.text()).map((entry) => entry.id)).toEqual([2, 3]);
  });

  it('is bounded in number; a place is free again when its reader leaves; the socket has its own', async () => {
    const { agent, api, port } = await serve({}, { maxStreams: 2 });
    const first = await read(port, '/v1/events');
    await read(port, '/v1/discovery/events');
    const refused = await read(port, '/v1/logs?follow');
    await untilHolds(() => expect(refused.ended()).toBe(true));
    expect(refused.response.statusCode).toBe(503);
    expect(refused.response.headers['retry-after']).toBeDefined();
    expect(JSON.parse(refused.text()).error).toMatchObject({ code: 'TOO_MANY_STREAMS', retryable: true });
    expect((await api.inject({ url: '/v1/events?follow=0' }, 'socket')).statusCode).toBe(200);
    // Nobody without a token takes an operator's place.
    const operator = await read(port, '/v1/logs?follow', withToken);
    expect(operator.response.statusCode).toBe(200);
    operator.leave();
    first.leave();
    await untilHolds(() => expect(agent.followers).toBe(1));
    await untilHolds(async () => expect((await read(port, '/v1/events')).response.statusCode).toBe(200));
  });

  it('follows an operation to its end', async () => {
    const { agent, port } = await serve();
    const operation = await agent.startOperation({ kind: 'install' });
    const reader = await read(port, `/v1/operations/${operation.id}/events`);
    await untilHolds(() => expect(agent.followers).toBe(1));
    agent.change(operation.id, { progress: 0.9 });
    agent.change(operation.id, { state: 'succeeded', message: 'done' });
    await untilHolds(() => expect(reader.ended()).toBe(true));
    expect(datas(reader.text()).map((entry) => entry.message)).toEqual(['install began', 'install began', 'done']);
    expect(reader.text().endsWith(': end\n\n')).toBe(true);
  });

  it('keeps the line alive', async () => {
    const { port } = await serve({}, { heartbeatMs: 5 });
    const reader = await read(port, '/v1/discovery/events');
    await untilHolds(() => expect(reader.text()).toContain(': heartbeat\n\n'));
  });

  it('cuts a reader that reads nothing when little is sent, too', async () => {
    let finished = false;
    let raw: ServerResponse | null = null;
    const holdsBack = async (): Promise<boolean> => {
      for (let look = 0; look < 20; look++) {
        if ((raw?.socket?.writableLength ?? 0) === 0) return false;
        await new Promise((resolve) => setTimeout(resolve, 1));
      }
      return true;
    };
    // In small parts until the kernel takes no more, then nothing: the socket never says that it is full.
    const quiet = async function* (signal: AbortSignal) {
      try {
        for (let id = 1; !(await holdsBack()); id++) yield { id, data: { text: 'x'.repeat(12 * 1024) } };
        await new Promise((resolve) => signal.addEventListener('abort', resolve, { once: true }));
      } finally {
        finished = true;
      }
    };
    const streams = createStreams(
      { max: 1, isOperator: () => false, heartbeatMs: 60_000, slowReaderMs: 100 },
      (value) => JSON.stringify(value),
      memoryLogger(),
    );
    const server = createServer((request, response) => {
      raw = response;
      const reply = { raw: response, header: () => reply, hijack: () => reply, getHeaders: () => ({}) };
      void streams.serve(request as never, reply as never, quiet);
    });
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    ends.push(() => server.close());
    const { port } = server.address() as AddressInfo;
    const socket = connect(port, '127.0.0.1', () => socket.write('GET / HTTP/1.1\r\nhost: localhost\r\n\r\n')).pause();
    socket.on('error', () => undefined);
    ends.push(() => socket.destroy());
    await eventually('the reader is cut', () => finished && streams.open === 0, 60_000);
  }, 60_000);

  it('cuts a reader that does not read, and takes no more from the source for it', async () => {
    let taken = 0;
    let finished = false;
    const endless: Agent['events'] = async function* () {
      try {
        for (;;) {
          taken += 1;
          yield aJournalEvent(taken, { message: 'x'.repeat(64 * 1024) });
          // The real sources wait for something too.
          await new Promise((resolve) => setImmediate(resolve));
        }
      } finally {
        finished = true;
      }
    };
    const { port } = await serve({ events: endless }, { slowReaderMs: 50 });
    const reader = await read(port, '/v1/events');
    reader.response.pause();
    await untilHolds(() => expect(finished).toBe(true));
    expect(taken).toBeLessThan(1_000);
    reader.response.resume();
    await untilHolds(() => expect(reader.ended()).toBe(true));
  });

  it('says goodbye when the agent stops, and closing waits for nobody', async () => {
    const deaf: Agent['discoveryEvents'] = async function* () {
      await new Promise(() => undefined);
      yield await fakeAgent().discovery();
    };
    const { api, port } = await serve({ discoveryEvents: deaf });
    const [journal, discovery] = [await read(port, '/v1/events'), await read(port, '/v1/discovery/events')];
    await api.close();
    await untilHolds(() => expect([journal.ended(), discovery.ended()]).toEqual([true, true]));
    for (const reader of [journal, discovery]) expect(reader.text()).toContain(': the agent is stopping\n\n');
  });

  it('tells an error of the source as a last event, without its insides', async () => {
    const log = memoryLogger();
    const failing = (error: Error): Agent['logs'] =>
      async function* () {
        yield { source: '0', line: 'first' };
        throw error;
      };
    const known = await serve({ logs: failing(new AgentError('PM2_UNAVAILABLE', 'PM2 does not answer')) });
    const told = await read(known.port, '/v1/logs?follow=true');
    await untilHolds(() => expect(told.ended()).toBe(true));
    expect(told.text()).toMatch(/event: problem\ndata: .*PM2_UNAVAILABLE/);
    const own = await serve({ logs: failing(new TypeError('inside')) }, { log });
    const hidden = await read(own.port, '/v1/logs?follow=true');
    await untilHolds(() => expect(hidden.ended()).toBe(true));
    expect(hidden.text()).toContain('INTERNAL');
    expect(hidden.text()).not.toContain('inside');
    expect(log.entries).toHaveLength(1);
  });

  it('holds no place for HEAD', async () => {
    const { agent, api } = await serve({}, { maxStreams: 1 });
    for (const url of ['/v1/events', '/v1/discovery/events', '/v1/logs?follow=true']) {
      const head = await api.inject({ method: 'HEAD', url });
      expect([head.statusCode, head.headers['content-type'], head.body]).toEqual([200, 'text/event-stream; charset=utf-8', '']);
    }
    expect(agent.followers).toBe(0);
  });
});

describe('log lines', () => {
  it('come as a list unless followed', async () => {
    const { api } = await serve();
    const ask = async (url: string, headers = {}) => (await api.inject({ url, headers })).body;
    expect(JSON.parse(await ask('/v1/instances/0/logs?lines=1'))).toEqual([
      { source: '0', line: 'To see the GUI go to: http://127.0.0.1:8188' },
    ]);
    expect(JSON.parse(await ask('/v1/instances/GPU-00000000/logs'))).toHaveLength(2);
    expect(JSON.parse(await ask('/v1/logs?source=agent'))).toEqual([{ source: 'agent', line: 'ready' }]);
    expect(JSON.parse(await ask('/v1/logs?source=agent&lines=0'))).toEqual([]);
    expect(await ask('/v1/logs?source=agent', { accept: 'text/event-stream' })).toContain('data: {"source":"agent","line":"ready"}\n\n');
  });

  it('passes the moment on as epoch milliseconds', async () => {
    const asked: (number | undefined)[] = [];
    const { api } = await serve({
      async *logs(query) {
        asked.push(query.since);
        yield { source: 'agent', line: '' };
      },
    });
    for (const since of ['2026-11-21T12:00:00Z', '1795262400000']) await api.inject({ url: `/v1/logs?since=${since}` });
    expect(asked).toEqual([1_795_262_400_000, 1_795_262_400_000]);
    expect((await api.inject({ url: '/v1/logs?since=yesterday' })).statusCode).toBe(400);
  });

  it('follow new lines', async () => {
    const { agent, port } = await serve();
    const reader = await read(port, '/v1/instances/0/logs?follow=true&lines=0');
    await untilHolds(() => expect(agent.followers).toBe(1));
    agent.log('1', 'not mine');
    agent.log('0', 'mine');
    await untilHolds(() => expect(reader.text()).toContain('"line":"mine"'));
    expect(reader.text()).not.toContain('not mine');
  });
});
