import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { type Api, type ApiOptions, createApi } from '../../../src/api/server.ts';
import type { Agent } from '../../../src/domain/agent.ts';
import type { Assets } from '../../../src/ports/files.ts';
import type { Logger } from '../../../src/ports/logs.ts';
import { fakeAgent } from '../../fakes/agent.ts';

const ROOT = join(import.meta.dirname, '../../..');
const fileOf = (name: string): string =>
  name.startsWith('swagger-ui') ? join(ROOT, 'node_modules', 'swagger-ui-dist', name) : join(ROOT, 'assets', name);

/** The assets as they lie in the source tree. */
export const sourceAssets: Assets = {
  text: (name) => readFile(fileOf(name), 'utf8'),
  bytes: (name) => readFile(fileOf(name)),
  simulator: async () => join(ROOT, 'simulator'),
};

export interface MemoryLogger extends Logger {
  readonly entries: { level: string; facts: object; message: string }[];
}

/** Keeps what was logged. */
export function memoryLogger(entries: MemoryLogger['entries'] = []): MemoryLogger {
  const at = (level: string) => (facts: object, message: string) => void entries.push({ level, facts, message });
  return { entries, debug: at('debug'), info: at('info'), warn: at('warn'), error: at('error'), child: () => memoryLogger(entries) };
}

export const TOKEN = 'test-token-0123456789';
export const withToken = { authorization: `Bearer ${TOKEN}` };

export const anApi = (agent: Agent = fakeAgent(), options: Partial<ApiOptions> = {}): Promise<Api> =>
  createApi(agent, {
    token: TOKEN,
    allowedHosts: [],
    allowedOrigins: [],
    maxStreams: 4,
    assets: sourceAssets,
    log: memoryLogger(),
    loopback: true,
    ...options,
  });
