import { existsSync, readdirSync, readlinkSync } from 'node:fs';
import { open } from 'node:fs/promises';
import { AgentError } from '../../domain/errors/errors.ts';
import type { PortHolder } from '../../domain/instances/instance.ts';
import { errorCode, isAbsent } from '../files/errors.ts';
import { createPause, listPids } from './proc.ts';

/** State of a listening socket in /proc/net/tcp. */
const LISTEN = '0A';
const TABLE_LIMIT = 4 * 1024 * 1024;
const PIECE_BYTES = 8 * 1024;
/** What is remembered of sockets, at most. */
const REMEMBERED = 256;

/** A listening TCP socket. */
export interface Listener {
  readonly tcpPort: number;
  readonly inode: string;
}

/** Listening sockets of a /proc/net/tcp or tcp6 table. */
export function parseListeners(table: string): readonly Listener[] {
  const found: Listener[] = [];
  for (const line of table.split('\n').slice(1)) {
    // sl local_address rem_address st tx_queue:rx_queue tr:tm->when retrnsmt uid timeout inode
    const fields = line.trim().split(/\s+/);
    const [, local, , state] = fields;
    const inode = fields[9];
    if (local === undefined || inode === undefined || state !== LISTEN) continue;
    const tcpPort = Number.parseInt(local.slice(local.lastIndexOf(':') + 1), 16);
    if (Number.isInteger(tcpPort)) found.push({ tcpPort, inode });
  }
  return found;
}

/**
 * The lines of a table that are about listening sockets; null when it cannot be read. They come first. The connections after
 * them are left unread: a busy machine has tens of thousands, and the kernel takes 10 ms to list a thousand.
 */
async function readListening(path: string): Promise<string | null> {
  const file = await open(path, 'r').catch(() => null);
  if (file === null) return null;
  try {
    let table = '';
    while (table.length < TABLE_LIMIT) {
      const { bytesRead, buffer } = await file.read(Buffer.allocUnsafe(PIECE_BYTES));
      if (bytesRead === 0) break;
      table += buffer.toString('latin1', 0, bytesRead);
      const lastLine = table.slice(table.lastIndexOf('\n', table.lastIndexOf('\n') - 1) + 1);
      const state = lastLine.trim().split(/\s+/)[3];
      if (state !== undefined && state !== LISTEN && state !== 'st') break;
    }
    return table;
  } catch {
    return null;
  } finally {
    await file.close();
  }
}

/** The sockets a process has open, inode to descriptor (a path below /proc); null when its descriptors may not be read. */
async function openSockets(procRoot: string, pid: number, pause = createPause()): Promise<ReadonlyMap<string, string> | null> {
  const directory = `${procRoot}/${pid}/fd`;
  let names: readonly string[];
  try {
    names = readdirSync(directory);
  } catch {
    return null;
  }
  const sockets = new Map<string, string>();
  for (const name of names) {
    await pause();
    const descriptor = `${directory}/${name}`;
    const link = linkOf(descriptor);
    if (link === null) return null;
    const inode = /^socket:\[(\d+)\]$/.exec(link)?.[1];
    if (inode !== undefined) sockets.set(inode, descriptor);
  }
  return sockets;
}

/** What is behind a descriptor: empty when it was closed meanwhile, null when it may not be read. */
function linkOf(path: string): string | null {
  try {
    return readlinkSync(path);
  } catch (error) {
    return isAbsent(error) || errorCode(error) === 'ESRCH' ? '' : null;
  }
}

export interface PortsOfKernel {
  portHolders(tcpPorts: readonly number[]): Promise<readonly PortHolder[]>;
  listensOn(pid: number, tcpPort: number): Promise<boolean | null>;
}

export function createPortsOfKernel(procRoot: string, command: (pid: number) => Promise<string | null>): PortsOfKernel {
  /** Who held a socket at the last look: asked first, so that a steady state costs one process and not all of them. */
  const lastHolder = new Map<string, number>();
  /** The descriptor of a process that was last seen listening on a port: while the same socket is there, so is the answer. */
  const lastSocket = new Map<string, { readonly descriptor: string; readonly link: string }>();

  async function listeners(tcpPorts: ReadonlySet<number>): Promise<readonly Listener[]> {
    const [tcp, tcp6] = await Promise.all(['tcp', 'tcp6'].map((name) => readListening(`${procRoot}/net/${name}`)));
    if (tcp === null || tcp === undefined)
      throw new AgentError('INTERNAL', `${procRoot}/net/tcp cannot be read, so it is not known who listens`);
    // There is no tcp6 where IPv6 is switched off.
    if (tcp6 === null && existsSync(`${procRoot}/net/tcp6`))
      throw new AgentError('INTERNAL', `${procRoot}/net/tcp6 cannot be read, so it is not known who listens`);
    return [tcp, tcp6].flatMap((table) => parseListeners(table ?? '')).filter((listener) => tcpPorts.has(listener.tcpPort));
  }

  /** pid by inode. With inherited sockets the lowest pid wins, which is the parent unless pids wrapped around. */
  async function holdersOf(inodes: ReadonlySet<string>): Promise<ReadonlyMap<string, number>> {
    const found = new Map<string, number>();
    const missing = new Set(inodes);
    const pause = createPause();
    const look = async (pid: number): Promise<void> => {
      for (const inode of (await openSockets(procRoot, pid, pause))?.keys() ?? []) {
        if (missing.delete(inode)) found.set(inode, pid);
      }
    };
    for (const inode of inodes) {
      const pid = lastHolder.get(inode);
      if (pid !== undefined && missing.has(inode)) await look(pid);
    }
    for (const pid of missing.size === 0 ? [] : listPids(procRoot)) {
      await look(pid);
      if (missing.size === 0) break;
    }
    for (const inode of lastHolder.keys()) if (!inodes.has(inode) && lastHolder.size > REMEMBERED) lastHolder.delete(inode);
    for (const [inode, pid] of found) lastHolder.set(inode, pid);
    return found;
  }

  return {
    async portHolders(tcpPorts) {
      const wanted = new Set(tcpPorts);
      let sockets = await listeners(wanted);
      if (sockets.length === 0) return [];
      const holders = await holdersOf(new Set(sockets.map((socket) => socket.inode)));
      if (sockets.some((socket) => !holders.has(socket.inode))) {
        // Not found may mean closed while we looked, which is no holder at all.
        const still = new Set((await listeners(wanted)).map((socket) => socket.inode));
        sockets = sockets.filter((socket) => holders.has(socket.inode) || still.has(socket.inode));
      }
      // One entry for a process that listens on IPv4 and IPv6.
      const distinct = new Map(
        sockets.map(({ tcpPort, inode }) => [`${tcpPort} ${holders.get(inode) ?? '?'}`, { tcpPort, pid: holders.get(inode) ?? null }]),
      );
      return Promise.all(
        [...distinct.values()].map(async ({ tcpPort, pid }) => ({ tcpPort, pid, command: pid === null ? null : await command(pid) })),
      );
    },

    async listensOn(pid, tcpPort) {
      const key = `${pid} ${tcpPort}`;
      const last = lastSocket.get(key);
      if (last !== undefined && linkOf(last.descriptor) === last.link) return true;
      lastSocket.delete(key);
      const sockets = await listeners(new Set([tcpPort])).catch(() => null);
      if (sockets === null) return null;
      if (sockets.length === 0) return false;
      const opened = await openSockets(procRoot, pid);
      if (opened === null) return null;
      const own = sockets.find((socket) => opened.has(socket.inode));
      if (own === undefined) return false;
      if (lastSocket.size >= REMEMBERED) lastSocket.clear();
      lastSocket.set(key, { descriptor: opened.get(own.inode) ?? '', link: `socket:[${own.inode}]` });
      return true;
    },
  };
}
