import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { readFile } from 'node:fs/promises';
import { createServer, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { makeWheel, type WheelContent } from './wheel.ts';

/** A package index on loopback (PEP 503, metadata beside the wheels as PEP 658 has it) that counts what is taken from it. */
export interface WheelIndex {
  readonly url: string;
  readonly port: number;
  /** File names of wheels whose body was asked for, in order. */
  readonly downloads: string[];
  add(wheel: WheelContent): Promise<void>;
  close(): Promise<void>;
}

/** As PyPI says of its files; pages are asked for anew. */
const FOR_EVER = { 'cache-control': 'max-age=365000000, immutable, public' };

export async function startWheelIndex(directory: string): Promise<WheelIndex> {
  const projects = new Map<string, { readonly file: string; readonly sha256: string }[]>();
  const metadata = new Map<string, string>();
  const downloads: string[] = [];
  const answer = async (path: string, response: ServerResponse): Promise<void> => {
    const [, kind, name = ''] = path.split('/');
    if (kind === 'simple') {
      const links = (projects.get(name) ?? []).map(
        ({ file, sha256 }) =>
          `<a href="/files/${file}#sha256=${sha256}" data-dist-info-metadata="true" data-core-metadata="true">${file}</a>`,
      );
      response.writeHead(projects.has(name) ? 200 : 404, { 'content-type': 'text/html' }).end(`<!DOCTYPE html>\n${links.join('\n')}\n`);
    } else if (kind === 'files' && metadata.has(name)) {
      response.writeHead(200, { ...FOR_EVER, 'content-type': 'text/plain' }).end(metadata.get(name));
    } else if (kind === 'files' && metadata.has(`${name}.metadata`)) {
      downloads.push(name);
      response.writeHead(200, { ...FOR_EVER, 'content-type': 'application/octet-stream' }).end(await readFile(join(directory, name)));
    } else response.writeHead(404).end();
  };
  const server = createServer((request, response) => {
    answer(new URL(request.url ?? '/', 'http://localhost').pathname, response).catch(() => response.destroy());
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  return {
    url: `http://127.0.0.1:${port}/simple`,
    port,
    downloads,
    add: async (wheel) => {
      const path = await makeWheel(directory, wheel);
      const file = path.slice(directory.length + 1);
      const sha256 = createHash('sha256')
        .update(await readFile(path))
        .digest('hex');
      const requires = (wheel.requires ?? []).map((line) => `Requires-Dist: ${line}\n`).join('');
      metadata.set(`${file}.metadata`, `Metadata-Version: 2.1\nName: ${wheel.name}\nVersion: ${wheel.version}\n${requires}`);
      projects.set(wheel.name, [...(projects.get(wheel.name) ?? []), { file, sha256 }]);
    },
    close: async () => {
      server.closeAllConnections();
      server.close();
      await once(server, 'close');
    },
  };
}
