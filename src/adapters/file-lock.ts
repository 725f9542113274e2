import { createHash } from 'node:crypto';
import { realpath } from 'node:fs/promises';
import { connect, createServer, type Server } from 'node:net';
import { basename, dirname, join } from 'node:path';
import { AgentError } from '../domain/errors.ts';
import type { FileLock } from '../ports.ts';

const ANSWER_LIMIT_MS = 1_000;

/**
 * A lock that the kernel gives to one and takes back when its process ends, however it ends: a listening socket in
 * Linux' abstract namespace, named after the real path. There is no file to become stale and no race to win twice; whoever
 * connects is told who has it.
 */
export async function takeLock(path: string, owner: string): Promise<FileLock> {
  const name = await socketName(path);
  const server = createServer((client) => {
    client.on('error', () => undefined);
    client.end(JSON.stringify({ pid: process.pid, owner }));
  });
  try {
    await listen(server, name);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EADDRINUSE') throw error;
    const holder = await askHolder(name);
    throw new AgentError('ROOT_LOCKED', `${dirname(path)} is in use by ${holder ?? 'a process that does not say who it is'}`, {
      details: { path, holder },
    });
  }
  server.unref();
  return {
    release: () => new Promise((done) => server.close(() => done())),
  };
}

/** The same for every path that leads to one place. */
async function socketName(path: string): Promise<string> {
  const directory = await realpath(dirname(path)).catch(() => dirname(path));
  return `\0comfy-agent-${createHash('sha256')
    .update(join(directory, basename(path)))
    .digest('hex')
    .slice(0, 40)}`;
}

const listen = (server: Server, name: string): Promise<void> =>
  new Promise((done, failed) => {
    server.once('error', failed);
    server.listen(name, () => done());
  });

const askHolder = (name: string): Promise<string | null> =>
  new Promise((done) => {
    let text = '';
    const client = connect(name);
    const finish = (): void => {
      client.destroy();
      try {
        const { pid, owner } = JSON.parse(text) as { pid: number; owner: string };
        done(owner.includes(String(pid)) ? owner : `${owner} (pid ${pid})`);
      } catch {
        done(null);
      }
    };
    client.setTimeout(ANSWER_LIMIT_MS, finish);
    client.on('data', (chunk) => {
      text = (text + String(chunk)).slice(0, 1_000);
    });
    client.once('end', finish);
    client.once('error', finish);
  });
