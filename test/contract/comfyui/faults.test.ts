import { createHash } from 'node:crypto';
import { createServer, type Server } from 'node:http';
import type { Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import { afterEach, describe, expect, it } from 'vitest';
import { createComfy } from '../../../src/adapters/comfyui/comfyui.ts';
import type { Comfy } from '../../../src/ports/comfyui.ts';
import { createFakeComfy } from '../../fakes/comfy.ts';
import { freePort, type Simulator, type SimulatorOptions, startSimulator } from '../../support/comfyui/simulator.ts';
import { eventually } from '../../support/eventually.ts';

/** How faults of a server reach the caller: the same on the fake and on the simulator where both can be made to fail. */

const graph = {
  1: { class_type: 'EmptyImage', inputs: { width: 64, height: 64, batch_size: 1, color: 7 } },
  2: { class_type: 'PreviewImage', inputs: { images: ['1', 0] } },
};
const calls: readonly [string, (comfy: Comfy, baseUrl: string, timeoutMs: number) => Promise<unknown>][] = [
  ['ping', (comfy, baseUrl, ms) => comfy.ping(baseUrl, ms)],
  ['queue', (comfy, baseUrl, ms) => comfy.queue(baseUrl, ms)],
  ['systemStats', (comfy, baseUrl, ms) => comfy.systemStats(baseUrl, ms)],
  ['nodeClasses', (comfy, baseUrl, ms) => comfy.nodeClasses(baseUrl, ms)],
  ['submit', (comfy, baseUrl, ms) => comfy.submit(baseUrl, graph, 'faults', ms)],
  ['history', (comfy, baseUrl, ms) => comfy.history(baseUrl, 'x', ms)],
  ['forget', (comfy, baseUrl, ms) => comfy.forget(baseUrl, 'x', ms)],
  ['view', (comfy, baseUrl, ms) => comfy.view(baseUrl, { filename: 'x', subfolder: '', type: 'temp' }, ms)],
  ['free', (comfy, baseUrl, ms) => comfy.free(baseUrl, ms)],
  ['webSocket', (comfy, baseUrl, ms) => comfy.webSocket(baseUrl, ms, 50)],
  ['protocol', (comfy, baseUrl, ms) => comfy.protocol(baseUrl, ms)],
];
const kindsOf = async (comfy: Comfy, baseUrl: string, timeoutMs: number): Promise<Record<string, unknown>> =>
  Object.fromEntries(
    await Promise.all(
      calls.map(async ([name, call]) => {
        const outcome = await call(comfy, baseUrl, timeoutMs).then(
          () => 'answered',
          (error: { code?: string; details?: { kind?: string } }) => (error.code === 'INSTANCE_FAILED' ? error.details?.kind : error),
        );
        return [name, outcome] as const;
      }),
    ),
  );
const all = (kind: string): Record<string, string> => Object.fromEntries(calls.map(([name]) => [name, kind]));

const ending: (() => Promise<unknown>)[] = [];
afterEach(async () => {
  for (const end of ending.splice(0)) await end();
});
const simulate = async (options: SimulatorOptions = {}): Promise<Simulator> => {
  const simulator = await startSimulator(options);
  ending.push(simulator.stop);
  return simulator;
};
const serve = (answer: Parameters<typeof createServer>[1] & object): Promise<string> => listen(createServer(answer));
const listen = async (server: Server): Promise<string> => {
  const sockets = new Set<Socket>();
  server.on('connection', (socket) => {
    sockets.add(socket);
    socket.on('close', () => sockets.delete(socket)).on('error', () => undefined);
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  ending.push(async () => {
    for (const socket of sockets) socket.destroy();
    await new Promise((resolve) => server.close(resolve));
  });
  const address = server.address();
  if (address === null || typeof address === 'string') throw new Error('no port');
  return `http://127.0.0.1:${address.port}`;
};

describe('faults of a ComfyUI server', () => {
  it('nobody there', async () => {
    expect(await kindsOf(createFakeComfy().comfy, 'http://nobody', 500)).toEqual(all('refused'));
    expect(await kindsOf(createComfy(), `http://127.0.0.1:${await freePort()}`, 5_000)).toEqual(all('refused'));
  });

  it('a stopped process: connections are accepted by the kernel, and nothing answers', async () => {
    const { comfy, serve: start } = createFakeComfy();
    start('http://hung').behaviour = 'hung';
    expect(await kindsOf(comfy, 'http://hung', 500)).toEqual(all('timeout'));

    const simulator = await simulate();
    process.kill(simulator.pid, 'SIGSTOP');
    expect(await kindsOf(createComfy(), simulator.baseUrl, 300)).toEqual(all('timeout'));
    process.kill(simulator.pid, 'SIGCONT');
    await eventually('it answers again', async () => (await createComfy().ping(simulator.baseUrl, 5_000)).queueRemaining === 0);
  });

  it('a server that answers 500', async () => {
    const { comfy, serve: start } = createFakeComfy();
    start('http://failing').behaviour = 'failing';
    expect(await kindsOf(comfy, 'http://failing', 500)).toEqual(all('status'));

    const { baseUrl } = await simulate({ env: { SIM_HTTP_500: 'true' } });
    const kinds = await kindsOf(createComfy(), baseUrl, 5_000);
    // A simulator's switch for HTTP leaves its WebSocket alone.
    expect({ ...kinds, protocol: 'status' }).toEqual(all('status'));
  });

  it('a dead worker thread: prompts are accepted, pend, and never run', async () => {
    const { comfy, serve: start } = createFakeComfy();
    start('http://zombie').behaviour = 'zombie';
    const simulator = await simulate({ env: { SIM_ZOMBIE_WORKER: 'true' } });
    for (const [subject, baseUrl] of [
      [comfy, 'http://zombie'],
      [createComfy(), simulator.baseUrl],
    ] as const) {
      const first = await subject.submit(baseUrl, graph, 'faults', 5_000);
      await subject.submit(baseUrl, graph, 'faults', 5_000);
      await eventually('prompts pend and none runs', async () => {
        const queue = await subject.queue(baseUrl, 5_000);
        return queue.pending >= 1 && queue.running === 0;
      });
      expect(await subject.history(baseUrl, first.promptId, 5_000)).toBeNull();
    }
  });

  it('a job that fails tells node, exception and message', async () => {
    const { comfy, serve: start } = createFakeComfy();
    start('http://failing').jobError = { nodeType: 'ImageBlur', exceptionType: 'torch.OutOfMemoryError', message: 'out of memory' };
    const simulator = await simulate({ env: { SIM_JOB_ERROR: 'oom' } });
    const blurred = {
      ...graph,
      2: { class_type: 'ImageBlur', inputs: { image: ['1', 0], blur_radius: 1, sigma: 1 } },
      3: { class_type: 'PreviewImage', inputs: { images: ['2', 0] } },
    };
    for (const [subject, baseUrl] of [
      [comfy, 'http://failing'],
      [createComfy(), simulator.baseUrl],
    ] as const) {
      const { promptId } = await subject.submit(baseUrl, blurred, 'faults', 5_000);
      const entry = await eventually('the job ends', () => subject.history(baseUrl, promptId, 5_000));
      expect(entry).toMatchObject({ completed: false, status: 'error', images: [] });
      expect(entry.error).toEqual({
        nodeType: 'ImageBlur',
        exceptionType: expect.stringMatching(/OutOfMemoryError/),
        message: expect.stringMatching(/out of memory|Allocation/i),
      });
    }
  });

  it('a WebSocket that is refused is told apart from nobody there', async () => {
    const { baseUrl } = await simulate({ env: { SIM_DROP_WEBSOCKETS: 'true' } });
    await expect(createComfy().protocol(baseUrl, 5_000)).rejects.toMatchObject({ details: { kind: 'status' } });
  });

  it('something that is no ComfyUI', async () => {
    const html = await serve((_request, response) => response.setHeader('content-type', 'text/html').end('<p>another program</p>'));
    await expect(createComfy().ping(html, 5_000)).rejects.toMatchObject({
      message: expect.stringContaining('did not answer in JSON (text/html)'),
      details: { kind: 'body' },
    });
    const other = await serve((_request, response) => response.end('{"status":"ok"}'));
    await expect(createComfy().ping(other, 5_000)).rejects.toMatchObject({ details: { kind: 'body' } });
    await expect(createComfy().queue(other, 5_000)).rejects.toMatchObject({ details: { kind: 'body' } });
    await expect(createComfy().protocol(other, 5_000)).rejects.toMatchObject({ details: { kind: 'status' } });
  });

  it('an answer that drips for longer than the limit', async () => {
    const baseUrl = await serve((_request, response) => {
      response.write('{');
      const timer = setInterval(() => response.write(' '), 20);
      response.on('close', () => clearInterval(timer));
    });
    await expect(createComfy().ping(baseUrl, 300)).rejects.toMatchObject({ details: { kind: 'timeout' } });
  });

  it('an answer without end is cut off', async () => {
    const closed = Promise.withResolvers<void>();
    const baseUrl = await serve((_request, response) => {
      const more = (): void => {
        while (!response.destroyed && response.write('x'.repeat(64 * 1024)));
      };
      response.on('drain', more).on('close', closed.resolve);
      more();
    });
    await expect(createComfy().ping(baseUrl, 10_000)).rejects.toMatchObject({
      message: expect.stringContaining('more than'),
      details: { kind: 'body' },
    });
    await closed.promise;
    const { bytes } = await createComfy().view(baseUrl, { filename: 'endless', subfolder: '', type: 'output' }, 10_000);
    expect(bytes.length).toBe(64 * 1024);
  });

  it('a connection closed before an answer', async () => {
    const baseUrl = await serve((request) => request.socket.destroy());
    await expect(createComfy().ping(baseUrl, 5_000)).rejects.toMatchObject({ details: { kind: 'refused' } });
  });

  it('leaves no connection open, also to a WebSocket server that hangs after its greeting', async () => {
    const open = new Set<Duplex>();
    const greetings = ['{"type":"status","data":{}}', '{"type":"client_id","data":{"client_id":"x"}}'];
    const server = createServer((_request, response) => response.end('{"exec_info":{"queue_remaining":0}}'));
    server.on('connection', (socket) => {
      open.add(socket);
      socket.on('close', () => open.delete(socket));
    });
    server.on('upgrade', (request, socket) => {
      // The last that is heard of the client; this end never hangs up.
      socket.on('end', () => open.delete(socket)).resume();
      const accept = createHash('sha1')
        .update(`${request.headers['sec-websocket-key']}258EAFA5-E914-47DA-95CA-C5AB0DC85B11`)
        .digest('base64');
      socket.write(
        `HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: ${accept}\r\n\r\n`,
      );
      const greeting = Buffer.from(greetings.shift() ?? '');
      socket.write(Buffer.concat([Buffer.from([0x81, greeting.length]), greeting]));
    });
    const baseUrl = await listen(server);
    const comfy = createComfy();
    await comfy.ping(baseUrl, 5_000);
    expect(await comfy.protocol(baseUrl, 5_000)).toBe('upstream');
    expect(await comfy.protocol(baseUrl, 5_000)).toBe('fork');
    await eventually('all connections are closed', () => open.size === 0, 10_000);
  });

  it('gives up on a server that takes the connection and never opens the WebSocket', async () => {
    const server = createServer();
    const gone = Promise.withResolvers<void>();
    server.on('upgrade', (_request, socket) => socket.on('end', gone.resolve).resume());
    await expect(createComfy().protocol(await listen(server), 300)).rejects.toMatchObject({ details: { kind: 'timeout' } });
    await gone.promise;
  });
});
