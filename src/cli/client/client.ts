import type { Agent } from '../../domain/agent.ts';
import { AgentError } from '../../domain/errors/errors.ts';
import { call, events, type Peer } from './http.ts';

/**
 * The facade over the agent's unix socket. Documents are those of our own server, so they are checked only for being
 * documents at all: loading the schemas would cost more time than the whole request.
 */
export function createRemoteAgent(peer: Peer): Agent {
  const get = async <T>(path: string): Promise<T> => document<T>(path, await call(peer, { method: 'GET', path }));
  const change = async <T>(method: 'POST' | 'PATCH', path: string, body: unknown): Promise<T> =>
    document<T>(path, await call(peer, { method, path, body }));
  const stream = <T>(path: string, signal: AbortSignal): AsyncIterable<T> => events<T>(peer, path, signal);
  return {
    version: () => get('/v1/version'),
    liveness: () => get('/health'),
    ready: () => get('/ready'),
    health: () => get('/health/comfyui'),
    installation: () => get('/health/comfyui/installation'),
    instances: () => get('/health/comfyui/instances'),
    instance: (reference) => get(`/health/comfyui/instances/${encodeURIComponent(reference)}`),
    models: () => get('/health/comfyui/models'),
    status: () => get('/v1/status'),
    state: () => get('/v1/state'),
    plan: () => get('/v1/plan'),
    gpus: () => get('/v1/gpus'),
    acceptGpus: () => change('POST', '/v1/gpus/accept', {}),
    ports: () => get('/v1/ports'),
    discovery: () => get('/v1/discovery'),
    prometheusTargets: () => get('/v1/discovery/prometheus'),
    releases: () => get('/v1/releases'),
    config: () => get('/v1/config'),
    drift: () => get('/v1/drift'),
    doctor: () => get('/v1/doctor'),
    metrics: async () => String(await call(peer, { method: 'GET', path: '/metrics' })),
    operations: () => get('/v1/operations'),
    operation: (id) => get(`/v1/operations/${encodeURIComponent(id)}`),
    startOperation: (request) => change('POST', '/v1/operations', request),
    followOperation: (id, signal) => stream(`/v1/operations/${encodeURIComponent(id)}/events`, signal),
    patchInstance: (reference, patch) => change('PATCH', `/v1/instances/${encodeURIComponent(reference)}`, patch),
    events: ({ backlog, follow }, signal) => stream(`/v1/events?backlog=${backlog}&follow=${follow}`, signal),
    discoveryEvents: (signal) => stream('/v1/discovery/events', signal),
    logs: ({ source, lines, follow, since }, signal) =>
      stream(
        `/v1/logs?source=${encodeURIComponent(source)}&lines=${lines}&follow=${follow}${since === undefined ? '' : `&since=${since}`}`,
        signal,
      ),
  };
}

function document<T>(path: string, value: unknown): T {
  if (typeof value !== 'object' || value === null)
    throw new AgentError('INTERNAL', `the agent answered ${path} with something that is no document`);
  return value as T;
}
