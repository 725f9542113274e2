import { createServer, type Server, type Socket } from 'node:net';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { openBus } from '../../../src/adapters/pm2/bus.ts';
import { parseRows } from '../../../src/adapters/pm2/entry.ts';
import { callDaemon } from '../../../src/adapters/pm2/rpc.ts';
import { encodeMessage, MessageReader } from '../../../src/adapters/pm2/wire.ts';
import type { ProcessEvent } from '../../../src/domain/instances/instance.ts';
import { createGate } from '../../support/gate.ts';
import { type TempRoot, tempRoot } from '../../support/temp-root.ts';

/**
 * A daemon that a node pack put in place of PM2's, as it may with ComfyUI's rights. Whatever it sends, the agent goes on: an error that
 * nobody catches would end this test's process, too.
 */

let root: TempRoot;
let server: Server;
let sockets: Socket[];
/** What it does with a connection. */
let behave: (socket: Socket) => void;
const path = () => join(root.path, 'rpc.sock');
const call = (timeoutMs = 5_000) => callDaemon(path(), { method: 'getMonitorData', argument: {}, timeoutMs });
const ENDLESS = Buffer.alloc(1024 * 1024, 'x');
/** Writes until nobody reads. */
const flood = (socket: Socket, piece: Buffer = ENDLESS): void => {
  const more = (): void => {
    while (!socket.destroyed && socket.write(piece));
  };
  socket.on('drain', more);
  more();
};

beforeEach(async () => {
  root = await tempRoot();
  sockets = [];
  server = createServer((socket) => {
    sockets.push(socket);
    socket.on('error', () => undefined);
    behave(socket);
  });
  await new Promise<void>((done) => server.listen(path(), done));
});
afterEach(async () => {
  for (const socket of sockets) socket.destroy();
  await new Promise((done) => server.close(done));
  await root.remove();
});

/** Answers the call with a message made from its id. */
const answering = (answer: (id: unknown) => Buffer) => (socket: Socket) => {
  const reader = new MessageReader();
  socket.on('data', (piece: Buffer) => {
    for (const message of reader.add(piece)) socket.write(answer(message.at(-1)));
  });
};
const raw = (text: string) => (socket: Socket) => void socket.write(Buffer.from(text, 'latin1'));
const head = (bytes: number): string => Buffer.from([0x11, ...[24, 16, 8, 0].map((shift) => (bytes >> shift) & 0xff)]).toString('latin1');

describe('a false PM2', () => {
  it.each<[string, (socket: Socket) => void, RegExp]>([
    ['closes at once', (socket) => socket.destroy(), /ended during|cannot be reached/],
    ['sends no message', raw('GET / HTTP/1.1\r\n\r\n'), /no message of PM2: it is of another version/],
    ['sends what is no JSON', raw(`${head(9)}j:{"a":1}`.replace('}', ']')), /no message of PM2: it is no JSON/],
    ['announces four gigabytes', raw('\x11\xff\xff\xff\xff'), /longer than/],
    ['sends without end', (socket) => flood(socket), /no message of PM2/],
    [
      'sends small messages without end',
      (socket) => flood(socket, Buffer.concat(Array(10_000).fill(encodeMessage(['x', 'y'])))),
      /sends without end/,
    ],
    ['answers nothing in it', answering((id) => encodeMessage([null, id])), /unknown form/],
    ['answers a text', answering((id) => encodeMessage(['text', id])), /unknown form/],
    ['answers without arguments', answering((id) => encodeMessage([{}, id])), /unknown form/],
    ['answers arguments that are none', answering((id) => encodeMessage([{ args: 'text' }, id])), /unknown form/],
  ])('that %s is told as unavailable', async (_, does, words) => {
    behave = does;
    await expect(call()).rejects.toMatchObject({ code: 'PM2_UNAVAILABLE', message: expect.stringMatching(words) });
  });

  it.each([
    ['says nothing', () => undefined],
    ['answers another call', answering(() => encodeMessage([{ args: [1] }, 'another']))],
  ])('that %s is waited for no longer than allowed', async (_, does) => {
    behave = does;
    await expect(call(200)).rejects.toMatchObject({ code: 'PM2_UNAVAILABLE', details: { timedOut: true } });
  });

  it('that answers an error has its words cut', async () => {
    behave = answering((id) => encodeMessage([{ error: 'x'.repeat(1_000_000) }, id]));
    await expect(call()).rejects.toMatchObject({
      code: 'INSTANCE_FAILED',
      message: expect.stringMatching(/^PM2 refused getMonitorData: x{2000}$/),
    });
  });

  it('that lists nonsense, or more than any machine has, is not believed', () => {
    const row = (change: object) => ({ pid: 1, name: 'n', pm_id: 0, pm2_env: { status: 'online' }, ...change });
    for (const answer of [null, 'x', [null], [{}], [row({ name: 'n'.repeat(100_000) })], [row({ pid: -1 })], Array(100_000).fill(row({}))])
      expect(() => parseRows(answer)).toThrow(expect.objectContaining({ code: 'PM2_UNAVAILABLE' }));
    expect(parseRows([row({})])).toHaveLength(1);
  });
});

describe('a false bus', () => {
  const listen = async () => {
    const events: ProcessEvent[] = [];
    const lost = createGate();
    const bus = await openBus(path(), { onEvent: (event) => events.push(event), onOutput: () => undefined, onLost: lost.open });
    return { bus, events, lost };
  };

  it.each<[string, (socket: Socket) => void]>([
    ['sends no message', raw('nonsense')],
    ['sends what is no JSON', raw(`${head(3)}j:{`)],
    [
      'sends without end',
      (socket) => flood(socket, Buffer.concat(Array(10_000).fill(encodeMessage(['log:out', { data: 'x', process: { name: 'n' } }])))),
    ],
  ])('that %s is left', async (_, does) => {
    behave = does;
    const { lost } = await listen();
    await lost.passed();
  });

  it('tells only what has the form of an event', async () => {
    behave = (socket) => {
      for (const topic of ['process:event', 'agent:exit', 'log:out', '', null, { a: 1 }])
        for (const message of [null, 'x', {}, { process: null }, { event: 'online', at: 'x', process: { name: 1 } }])
          socket.write(encodeMessage([topic, message]));
      socket.write(encodeMessage([]));
      socket.write(encodeMessage(['process:event', { event: 'online', at: 5, process: { name: 'n' } }]));
      socket.end();
    };
    const { events, lost } = await listen();
    await lost.passed();
    expect(events).toEqual([{ kind: 'online', name: 'n', at: 5 }]);
  });
});
