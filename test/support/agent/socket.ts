import { request as httpRequest } from 'node:http';
import { join } from 'node:path';
import type { JournalEvent } from '../../../src/domain/journal.ts';

/** One request on the agent's own socket, where no token is asked for. */
export function overSocket(root: string, method: 'GET' | 'POST', path: string, body?: object): Promise<{ status: number; body: unknown }> {
  return new Promise((done, failed) => {
    const request = httpRequest(
      { socketPath: join(root, 'run/agent.sock'), method, path, headers: body === undefined ? {} : { 'content-type': 'application/json' } },
      (response) => {
        let text = '';
        response.on('data', (chunk) => (text += String(chunk)));
        response.once('error', failed);
        response.once('end', () => done({ status: response.statusCode ?? 0, body: /^[[{]/.test(text) ? JSON.parse(text) : text }));
      },
    );
    request.once('error', failed);
    request.end(body === undefined ? undefined : JSON.stringify(body));
  });
}

/** Calls back with each event of the journal as it is written; ends with the agent, or with `close`. */
export function followJournal(root: string, onEvent: (event: JournalEvent) => void): Promise<{ close(): void }> {
  return new Promise((done, failed) => {
    const request = httpRequest({ socketPath: join(root, 'run/agent.sock'), path: '/v1/events' }, (response) => {
      if (response.statusCode !== 200) return failed(new Error(`/v1/events answers ${response.statusCode}`));
      let text = '';
      response.on('error', () => undefined);
      response.on('data', (chunk) => {
        text += String(chunk);
        const parts = text.split('\n\n');
        text = parts.pop() ?? '';
        for (const part of parts) {
          const data = part.split('\n').find((line) => line.startsWith('data: '));
          if (data !== undefined) onEvent(JSON.parse(data.slice('data: '.length)) as JournalEvent);
        }
      });
      done({ close: () => request.destroy() });
    });
    request.on('error', failed);
    request.end();
  });
}
