import { chmod, chown, mkdtemp, rename, rm, rmdir, stat } from 'node:fs/promises';
import { connect } from 'node:net';
import { dirname, join } from 'node:path';
import { AgentError } from '../domain/errors/errors.ts';
import type { App } from './app-types.ts';

const PROBE_TIMEOUT_MS = 1_000;

const reasons: Readonly<Record<string, string>> = {
  EADDRINUSE: 'another program listens there',
  EACCES: 'this user may not',
  EADDRNOTAVAIL: 'this machine has no such address',
  ENOTFOUND: 'the name cannot be resolved',
  ENOENT: 'the directory does not exist',
  ENOSPC: 'the disk is full',
  EROFS: 'the filesystem is read-only',
  ENAMETOOLONG: 'the path is too long for a socket',
  EINVAL: 'the path is too long for a socket',
};

function listenFailed(where: string, error: unknown): AgentError {
  const code = (error as NodeJS.ErrnoException).code ?? '';
  return new AgentError('LISTEN_FAILED', `the agent cannot listen on ${where}: ${reasons[code] ?? (error as Error).message}`, {
    cause: error,
    details: { where, code },
  });
}

/** @returns the port that was really taken. @throws AgentError LISTEN_FAILED */
export async function listenOnTcp(app: App, host: string, port: number): Promise<{ host: string; port: number }> {
  try {
    await app.listen({ host, port });
  } catch (error) {
    throw listenFailed(`${host}:${port}`, error);
  }
  const address = app.server.address();
  return { host, port: address !== null && typeof address === 'object' ? address.port : port };
}

export interface SocketRights {
  /** Default 0600. */
  readonly mode?: number;
  /** Group that owns the socket. */
  readonly gid?: number;
  /** Mode of the directory it lies in, which gets the same group; left alone where it belongs to somebody else. */
  readonly directoryMode?: number;
}

/**
 * Listens in a directory nobody else can enter, sets the rights, and only then moves the socket to its place: it is never
 * there with wider rights, and a socket that a dead agent left behind is replaced.
 * @throws AgentError LISTEN_FAILED, also when a living agent answers on this socket
 */
export async function listenOnSocket(app: App, path: string, rights: SocketRights): Promise<void> {
  if (await answers(path))
    throw new AgentError('LISTEN_FAILED', `an agent already answers on ${path}`, {
      help: 'use that agent (`agent status`), or stop it first',
    });
  let directory: string | null = null;
  try {
    // By hand: join would take the dot away, and the directory beside ours may be nobody's to write.
    directory = await mkdtemp(`${dirname(path)}/.`);
    if (rights.directoryMode !== undefined) await openDirectory(dirname(path), rights.directoryMode, rights.gid);
    const fresh = join(directory, 's');
    await app.listen({ path: fresh });
    if (rights.gid !== undefined) await chown(fresh, -1, rights.gid);
    await chmod(fresh, rights.mode ?? 0o600);
    await rename(fresh, path);
    await rmdir(directory);
  } catch (error) {
    if (directory !== null) await rm(directory, { recursive: true, force: true });
    throw listenFailed(path, error);
  }
}

async function openDirectory(path: string, mode: number, gid: number | undefined): Promise<void> {
  try {
    if (gid !== undefined) await chown(path, -1, gid);
    await chmod(path, mode);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EPERM') throw error;
  }
}

/** Tells one socket from another in its place; null: nothing is there, or it may not be looked at. */
export const identityOf = (path: string): Promise<string | null> =>
  stat(path).then(
    ({ dev, ino, ctimeMs }) => `${dev}:${ino}:${ctimeMs}`,
    () => null,
  );

export const removeSocket = (path: string): Promise<void> => rm(path, { force: true });

function answers(path: string): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(path);
    const done = (alive: boolean) => {
      socket.destroy();
      resolve(alive);
    };
    socket.setTimeout(PROBE_TIMEOUT_MS, () => done(true));
    socket.once('connect', () => done(true));
    socket.once('error', () => done(false));
  });
}
