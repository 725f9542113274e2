import { once } from 'node:events';
import { type AddressInfo, connect, createServer, type Socket } from 'node:net';

/** What becomes of a connection's answer: all of it, or only so many bytes before it is cut, or before nothing more comes. */
export type ProxyMode = 'pass' | { readonly cutAfter: number } | { readonly stallAfter: number };

export interface TcpProxy {
  readonly port: number;
  /** For connections made from now on. */
  mode: ProxyMode;
  /** Connections that were cut or stalled. */
  readonly spoilt: () => number;
  close(): Promise<void>;
}

/** A network on loopback that can fail in the middle. */
export async function startTcpProxy(targetPort: number): Promise<TcpProxy> {
  const sockets = new Set<Socket>();
  let spoilt = 0;
  const server = createServer((client) => {
    const { mode } = proxy;
    const target = connect(targetPort, '127.0.0.1');
    for (const socket of [client, target]) {
      sockets.add(socket);
      socket.on('error', () => undefined);
      socket.once('close', () => sockets.delete(socket));
    }
    client.pipe(target);
    client.once('close', () => target.destroy());
    if (mode === 'pass') return void target.pipe(client);
    const limit = 'cutAfter' in mode ? mode.cutAfter : mode.stallAfter;
    let passed = 0;
    target.on('data', (chunk: Buffer) => {
      const left = limit - passed;
      passed += chunk.length;
      if (left <= 0) return;
      client.write(chunk.subarray(0, left));
      if (chunk.length < left) return;
      spoilt += 1;
      if ('cutAfter' in mode) client.destroySoon();
    });
    target.once('end', () => {
      if (passed < limit) client.end();
    });
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const proxy: TcpProxy = {
    port: (server.address() as AddressInfo).port,
    mode: 'pass',
    spoilt: () => spoilt,
    close: async () => {
      for (const socket of sockets) socket.destroy();
      server.close();
      await once(server, 'close');
    },
  };
  return proxy;
}
