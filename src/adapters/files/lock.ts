import { createHash } from 'node:crypto';
import { readlink, realpath } from 'node:fs/promises';
import { connect, createServer, type Server, type Socket } from 'node:net';
import { basename, dirname, join } from 'node:path';
import { z } from 'zod';
import { AgentError } from '../../domain/errors/errors.ts';
import type { FileLock } from '../../ports/files.ts';

const ANSWER_LIMIT_MS = 1_000;
const ANSWER_BYTES = 1_000;
const Holder = z.object({ pid: z.int(), owner: z.string() });

/**
 * A lock that the kernel gives to one and takes back when its process ends, however it ends: a listening socket in
 * Linux' abstract namespace, named after the real path. There is no file to become stale and no race to win twice; whoever
 * connects is told who has it. It is seen by all processes of one machine or container, on any filesystem; containers
 * that share a directory but no network do not see each other's.
 * @throws AgentError ROOT_LOCKED with pid and owner of the holder
 */
export async function takeLock(path: string, owner: string): Promise<FileLock> {
  const name = await socketName(path);
  const clients = new Set<Socket>();
  const server = createServer((client) => {
    clients.add(client);
    client.on('close', () => clients.delete(client));
    client.on('error', () => undefined);
    client.setTimeout(ANSWER_LIMIT_MS, () => client.destroy());
    client.end(JSON.stringify({ pid: process.pid, owner } satisfies z.infer<typeof Holder>));
  });
  try {
    await listen(server, name);
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code !== 'EADDRINUSE')
      throw new AgentError('LISTEN_FAILED', `the lock of ${dirname(path)} cannot be taken: ${code}`, { cause: error });
    const holder = await askHolder(name);
    throw new AgentError('ROOT_LOCKED', `${dirname(path)} is in use by ${holder ?? 'a process that does not say who it is'}`, {
      details: { path, holder },
    });
  }
  server.unref();
  return {
    release: () =>
      new Promise((done) => {
        server.close(() => done());
        for (const client of clients) client.destroy();
      }),
  };
}

/** The same for every path that leads to one place; another one in each container, though they may share the network. */
async function socketName(path: string): Promise<string> {
  const directory = await realpath(dirname(path)).catch(() => dirname(path));
  const machine = await readlink('/proc/self/ns/pid').catch(() => '');
  const digest = createHash('sha256')
    .update(`${machine}\n${join(directory, basename(path))}`)
    .digest('hex');
  return `\0comfylet-${digest.slice(0, 40)}`;
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
      done(described(text));
    };
    client.setTimeout(ANSWER_LIMIT_MS, finish);
    client.on('data', (chunk) => {
      text = (text + String(chunk)).slice(0, ANSWER_BYTES);
    });
    client.once('end', finish);
    client.once('error', finish);
  });

function described(answer: string): string | null {
  try {
    const { pid, owner } = Holder.parse(JSON.parse(answer));
    return owner.includes(String(pid)) ? owner : `${owner} (pid ${pid})`;
  } catch {
    return null;
  }
}
