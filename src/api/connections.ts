import type { IncomingMessage, Server, ServerResponse } from 'node:http';
import type { Socket } from 'node:net';
import type { Logger } from '../ports/logs.ts';

/** Connections at one time. Beyond this not even the kernel's answer is given. */
export const MAX_CONNECTIONS = 1_024;
/** The last of them are for health probes alone. */
const RESERVE = 64;
/** A flood is over, and the next one is told again, when there are fewer connections than this part of the limit. */
const FLOOD_ENDS_AT = 0.5;

export interface Connections {
  /** Only the reserve is left: what is not a probe is to be refused. */
  isCrowded(): boolean;
}

/**
 * Keeps a server open to probes whoever else connects: where the connections run out, the one that has been idle longest
 * goes. One is idle unless a request that arrived whole is being answered, so half a header holds no place either.
 * @param limits for tests
 */
export function boundConnections(server: Server, log: Logger, limits = { max: MAX_CONNECTIONS, reserve: RESERVE }): Connections {
  const soft = limits.max - limits.reserve;
  /** In the order in which they became idle, the oldest first. */
  const idle = new Set<Socket>();
  const busy = new Set<Socket>();
  let isFlood = false;
  const open = (): number => idle.size + busy.size;

  server.maxConnections = limits.max;
  server.on('connection', (socket: Socket) => {
    idle.add(socket);
    socket.once('close', () => {
      idle.delete(socket);
      busy.delete(socket);
      if (open() < soft * FLOOD_ENDS_AT) isFlood = false;
    });
    if (open() <= soft) return;
    if (!isFlood) log.warn({ connections: open() }, 'too many connections: those that are idle longest are closed for new ones');
    isFlood = true;
    for (const oldest of idle) {
      if (oldest === socket) break;
      idle.delete(oldest);
      oldest.destroy();
      break;
    }
  });
  server.prependListener('request', ({ socket }: IncomingMessage, response: ServerResponse) => {
    idle.delete(socket);
    busy.add(socket);
    response.once('close', () => {
      if (!busy.delete(socket) || socket.destroyed) return;
      idle.add(socket);
    });
  });
  return { isCrowded: () => open() > soft };
}
