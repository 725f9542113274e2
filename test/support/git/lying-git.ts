import { once } from 'node:events';
import { readFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { gitFor } from './origin.ts';

/** honest; a ref at a commit that it does not have; one object in place of another. */
export type GitLie = 'none' | 'missing-commit' | 'other-object';

export interface LyingGit {
  readonly url: string;
  lie: GitLie;
  close(): Promise<void>;
}

const MISSING = '0123456789abcdef0123456789abcdef01234567';

/** git's plain HTTP protocol (static files), in which a server can say of its objects what it likes. */
export async function startLyingGit(repository: string): Promise<LyingGit> {
  await gitFor(repository, ['update-server-info']);
  const head = await gitFor(repository, ['rev-parse', 'HEAD']);
  const tree = await gitFor(repository, ['rev-parse', 'HEAD^{tree}']);
  const objectPath = (id: string): string => `/objects/${id.slice(0, 2)}/${id.slice(2)}`;
  const server = createServer((request, response) => {
    const { pathname } = new URL(request.url ?? '/', 'http://localhost');
    const answer = async (): Promise<Buffer | string> => {
      if (pathname === '/info/refs' && lying.lie === 'missing-commit') return `${MISSING}\trefs/heads/main\n`;
      const wanted = pathname === objectPath(tree) && lying.lie === 'other-object' ? objectPath(head) : pathname;
      return readFile(join(repository, '.git', wanted));
    };
    answer().then(
      (body) => response.writeHead(200, { 'content-type': 'text/plain' }).end(body),
      () => response.writeHead(404).end(),
    );
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const lying: LyingGit = {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/`,
    lie: 'none',
    close: async () => {
      server.closeAllConnections();
      server.close();
      await once(server, 'close');
    },
  };
  return lying;
}
