import { createServer, type RequestListener } from 'node:http';
import { type AddressInfo, connect, type Socket } from 'node:net';
import { afterEach, describe, expect, it } from 'vitest';
import { boundConnections } from '../../../src/api/connections.ts';
import { eventually } from '../../support/eventually.ts';
import { anApi, memoryLogger, withToken } from '../../support/machine/api.ts';

const ends: (() => unknown)[] = [];
afterEach(async () => {
  for (const end of ends.splice(0).reverse()) await end();
});

interface Client {
  readonly socket: Socket;
  readonly text: () => string;
  readonly isOpen: () => boolean;
}

function client(port: number, first = ''): Promise<Client> {
  return new Promise((resolve) => {
    let text = '';
    let isOpen = true;
    const socket = connect(port, '127.0.0.1', () => {
      socket.write(first);
      resolve({ socket, text: () => text, isOpen: () => isOpen });
    });
    socket.setEncoding('utf8').on('data', (part) => {
      text += String(part);
    });
    socket.on('error', () => undefined);
    socket.on('close', () => {
      isOpen = false;
    });
    ends.push(() => socket.destroy());
  });
}

const asking = (path: string): string => `GET ${path} HTTP/1.1\r\nhost: localhost\r\n\r\n`;

async function serve(answer: RequestListener, max: number, reserve: number) {
  const server = createServer(answer);
  const log = memoryLogger();
  const connections = boundConnections(server, log, { max, reserve });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  ends.push(() => {
    server.closeAllConnections();
    server.close();
  });
  return { port: (server.address() as AddressInfo).port, log, connections, server };
}

describe('connections', () => {
  it('the one that is idle longest goes, half a header among them, and a flood is logged once', async () => {
    const { port, log } = await serve((_request, response) => response.end('fine'), 8, 2);
    const first = await client(port, 'GET / HTTP/1.1\r\nx: ');
    const second = await client(port, asking('/'));
    await eventually('the second is answered', () => second.text().includes('fine'));
    for (let index = 0; index < 4; index++) await client(port);
    expect([first.isOpen(), second.isOpen()]).toEqual([true, true]);
    const seventh = await client(port, asking('/'));
    await eventually('the newest is answered', () => seventh.text().includes('fine'));
    await eventually('the oldest is gone', () => !first.isOpen());
    expect(second.isOpen()).toBe(true);
    for (let index = 0; index < 10; index++) await client(port);
    expect(log.entries.map(({ level }) => level)).toEqual(['warn']);
  });

  it('one that is being answered stays, and the reserve is known', async () => {
    let asked = 0;
    const { port, connections } = await serve(
      () => {
        asked += 1;
      },
      4,
      1,
    );
    const busy = await Promise.all(Array.from({ length: 3 }, () => client(port, asking('/'))));
    await eventually('all are busy', () => asked === 3);
    expect(connections.isCrowded()).toBe(false);
    const last = await client(port, asking('/'));
    await eventually('only the reserve is left', () => connections.isCrowded());
    expect([...busy, last].every(({ isOpen }) => isOpen())).toBe(true);
  });

  it('1,100 that say nothing keep nobody from health', async () => {
    const api = await anApi();
    ends.push(() => api.close());
    const { port } = await api.listenTcp('127.0.0.1', 0);
    await Promise.all(Array.from({ length: 1_100 }, () => client(port)));
    const probe = await client(port, asking('/health'));
    await eventually('health answers', () => probe.text().startsWith('HTTP/1.1 200'));
    const operator = await client(port, `GET /v1/status HTTP/1.1\r\nhost: localhost\r\nauthorization: ${withToken.authorization}\r\n\r\n`);
    await eventually('so does the status', () => operator.text().startsWith('HTTP/1.1 200'));
  });

  it('a header that never ends is ended at its limit', async () => {
    const api = await anApi();
    ends.push(() => api.close());
    const { port } = await api.listenTcp('127.0.0.1', 0);
    const began = performance.now();
    const slow = await client(port, 'GET /health HTTP/1.1\r\nhost: localhost\r\nx: ');
    await eventually('it is answered with 408', () => slow.text().startsWith('HTTP/1.1 408'), 25_000);
    expect(performance.now() - began).toBeGreaterThan(9_000);
  }, 30_000);
});
