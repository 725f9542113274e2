import { afterEach, describe, expect, it } from 'vitest';
import type { z } from 'zod';
import { OperationList } from '../../../src/api/operations.ts';
import type { Api, ApiOptions } from '../../../src/api/server.ts';
import { PlanDocument } from '../../../src/domain/action.ts';
import {
  ConfigDocument,
  GpusDocument,
  PortsDocument,
  ReleasesDocument,
  StatusDocument,
  VersionDocument,
} from '../../../src/domain/agent.ts';
import { ErrorDocument } from '../../../src/domain/errors/document.ts';
import {
  HealthDocument,
  InstallationDocument,
  InstancesDocument,
  LivenessDocument,
  ModelsDocument,
  ReadyDocument,
} from '../../../src/domain/health/health.ts';
import { DiscoveryDocument, PrometheusTargets } from '../../../src/domain/instances/discovery.ts';
import { InstanceDocument } from '../../../src/domain/instances/instance.ts';
import { OperationDocument } from '../../../src/domain/operation.ts';
import { StateDocument } from '../../../src/domain/state/state.ts';
import { type FakeAgentOptions, fakeAgent } from '../../fakes/agent.ts';
import { anApi, memoryLogger, withToken } from '../../support/machine/api.ts';
import {
  aDeadInstance,
  aHealthDocument,
  aModelsDocument,
  anInstallationDocument,
  anInstanceDocument,
} from '../../support/machine/documents.ts';
import { aVersionDocument } from '../../support/machine/machine-documents.ts';

const open: Api[] = [];
afterEach(async () => {
  for (const api of open.splice(0)) await api.close();
});

async function serve(agentOptions: FakeAgentOptions = {}, apiOptions: Partial<ApiOptions> = {}) {
  const agent = fakeAgent(agentOptions);
  const api = await anApi(agent, apiOptions);
  open.push(api);
  return { agent, api };
}

describe('answers of a machine in order', () => {
  it.each<[string, z.ZodType]>([
    ['/health', LivenessDocument],
    ['/ready', ReadyDocument],
    ['/health/comfyui', HealthDocument],
    ['/health/comfyui/installation', InstallationDocument],
    ['/health/comfyui/instances', InstancesDocument],
    ['/health/comfyui/instances/0', InstanceDocument],
    ['/health/comfyui/instances/GPU-00000001', InstanceDocument],
    ['/health/comfyui/models', ModelsDocument],
    ['/v1/discovery', DiscoveryDocument],
    ['/v1/discovery/prometheus', PrometheusTargets],
    ['/v1/operations', OperationList],
    ['/v1/state', StateDocument],
    ['/v1/plan', PlanDocument],
    ['/v1/status', StatusDocument],
    ['/v1/gpus', GpusDocument],
    ['/v1/ports', PortsDocument],
    ['/v1/releases', ReleasesDocument],
    ['/v1/config', ConfigDocument],
    ['/v1/version', VersionDocument],
  ])('GET and HEAD %s', async (url, schema) => {
    const { api } = await serve();
    const answer = await api.inject({ url });
    expect(answer.statusCode).toBe(200);
    expect(answer.headers['content-type']).toMatch(/^application\/json/);
    expect(answer.headers['cache-control']).toBe('no-store');
    expect(answer.headers['x-agent-version']).toBe(aVersionDocument().agent);
    expect(schema.safeParse(answer.json()).error).toBeUndefined();
    const head = await api.inject({ method: 'HEAD', url });
    expect([head.statusCode, head.body]).toEqual([200, '']);
  });

  it('serves figures as text', async () => {
    const { api } = await serve();
    const answer = await api.inject({ url: '/metrics' });
    expect(answer.headers['content-type']).toMatch(/^text\/plain; version=0\.0\.4/);
    expect(answer.body).toContain('comfylet_up 1');
  });
});

describe('status codes tell health', () => {
  const dead = aHealthDocument({
    status: 'unhealthy',
    ready: false,
    reasons: ['gpu 0: down'],
    instances: [aDeadInstance(0), aDeadInstance(1)],
  });
  const degraded = aHealthDocument({ status: 'degraded', instances: [anInstanceDocument(0), aDeadInstance(1)] });
  const off = aHealthDocument({ status: 'disabled', instances: [anInstanceDocument(0, { status: 'disabled', ready: false })] });
  it.each<[string, FakeAgentOptions, string, number]>([
    ['all dead', { document: dead }, '/health', 200],
    ['all dead', { document: dead }, '/ready', 503],
    ['all dead', { document: dead }, '/health/comfyui', 503],
    ['all dead', { document: dead }, '/health/comfyui/instances', 503],
    ['all dead', { document: dead }, '/health/comfyui/instances/0', 503],
    ['one dead', { document: degraded }, '/ready', 200],
    ['one dead', { document: degraded }, '/health/comfyui', 200],
    ['one dead', { document: degraded }, '/health/comfyui/instances', 200],
    ['one dead', { document: degraded }, '/health/comfyui/instances/0', 200],
    ['one dead', { document: degraded }, '/health/comfyui/instances/1', 503],
    ['one dead', { document: degraded }, '/health/comfyui/instances/7', 404],
    ['degraded below minReady', { document: { ...degraded, ready: false } }, '/health/comfyui', 503],
    ['nothing known', { document: { ...dead, status: 'unknown' } }, '/health/comfyui', 503],
    ['cards not seen', { cardsSeen: false }, '/health/comfyui/instances/0', 503],
    ['cards not seen', { cardsSeen: false }, '/health/comfyui/instances/GPU-1', 503],
    ['cards not seen', { cardsSeen: false }, '/v1/instances/GPU-1/logs', 503],
    ['switched off', { document: off }, '/health/comfyui', 200],
    ['switched off', { document: off }, '/health/comfyui/instances', 200],
    ['switched off', { document: off }, '/health/comfyui/instances/0', 200],
    [
      'installing',
      { installation: async () => anInstallationDocument({ status: 'installing', ok: false }) },
      '/health/comfyui/installation',
      503,
    ],
    ['packs failed', { installation: async () => anInstallationDocument({ status: 'degraded' }) }, '/health/comfyui/installation', 200],
    ['model missing', { models: async () => aModelsDocument({ status: 'fail' }) }, '/health/comfyui/models', 503],
    ['models not looked at', { models: async () => aModelsDocument({ status: 'unknown' }) }, '/health/comfyui/models', 503],
    ['models switched off', { models: async () => aModelsDocument({ status: 'disabled' }) }, '/health/comfyui/models', 200],
  ])('%s: %s %s', async (_name, agentOptions, url, expected) => {
    const { api } = await serve(agentOptions);
    expect((await api.inject({ url })).statusCode).toBe(expected);
  });

  it('makes the text of a document once', async () => {
    let made = 0;
    const document = { ...aHealthDocument(), toJSON: () => ({ made: ++made }) };
    const { api } = await serve({ health: async () => document });
    const answers = [
      await api.inject({ url: '/health/comfyui' }),
      await api.inject({ url: '/health/comfyui' }),
      await api.inject({ url: '/health/comfyui' }, 'socket'),
    ];
    expect(answers.map((answer) => answer.body)).toEqual(['{"made":1}', '{"made":1}', '{"made":1}']);
  });
});

describe('changes', () => {
  it('starts an operation and says where it is', async () => {
    const { api, agent } = await serve();
    const request = {
      method: 'POST' as const,
      url: '/v1/operations',
      headers: withToken,
      payload: { kind: 'restart', gpus: [0], drain: true },
    };
    const answer = await api.inject(request);
    expect(answer.statusCode).toBe(202);
    const operation = OperationDocument.parse(answer.json());
    expect(answer.headers['location']).toBe(`/v1/operations/${operation.id}`);
    expect((await api.inject(request)).json()).toMatchObject({ id: operation.id });
    expect((await api.inject({ url: String(answer.headers['location']) })).json()).toMatchObject({ id: operation.id });
    expect(agent.asked[0]).toEqual({ call: 'startOperation', argument: { kind: 'restart', gpus: [0], drain: true } });
  });

  it('changes one instance', async () => {
    const { api, agent } = await serve();
    const answer = await api.inject({ method: 'PATCH', url: '/v1/instances/1', headers: withToken, payload: { cordoned: true } });
    expect([answer.statusCode, answer.json().cordoned]).toEqual([200, true]);
    expect(agent.asked).toEqual([{ call: 'patchInstance', argument: { reference: '1', patch: { cordoned: true } } }]);
  });

  it.each<[string, 'POST' | 'PATCH', string, object | string, Record<string, string>, number, string]>([
    ['no token', 'POST', '/v1/operations', { kind: 'install' }, {}, 401, 'UNAUTHORIZED'],
    ['no token, malformed', 'POST', '/v1/operations', '{', { 'content-type': 'application/json' }, 401, 'UNAUTHORIZED'],
    ['unknown kind', 'POST', '/v1/operations', { kind: 'explode' }, withToken, 400, 'REQUEST_INVALID'],
    ['unknown key', 'POST', '/v1/operations', { kind: 'install', force: true }, withToken, 400, 'REQUEST_INVALID'],
    ['empty patch', 'PATCH', '/v1/instances/0', {}, withToken, 400, 'REQUEST_INVALID'],
    ['unknown instance', 'PATCH', '/v1/instances/9', { drain: true }, withToken, 404, 'INSTANCE_NOT_FOUND'],
    ['not JSON', 'POST', '/v1/operations', '{', { ...withToken, 'content-type': 'application/json' }, 400, 'REQUEST_INVALID'],
    [
      'text, as a form can post',
      'POST',
      '/v1/operations',
      '{"kind":"install"}',
      { ...withToken, 'content-type': 'text/plain' },
      415,
      'REQUEST_INVALID',
    ],
    [
      'too large',
      'POST',
      '/v1/operations',
      `{"kind":"${'x'.repeat(70_000)}"}`,
      { ...withToken, 'content-type': 'application/json' },
      413,
      'REQUEST_INVALID',
    ],
  ])('refuses: %s', async (_name, method, url, payload, headers, status, code) => {
    const { api, agent } = await serve();
    const answer = await api.inject({ method, url, payload, headers });
    expect([answer.statusCode, ErrorDocument.parse(answer.json()).error.code]).toEqual([status, code]);
    expect(agent.asked).toEqual([]);
  });

  it('needs no token on the socket, whatever the headers say', async () => {
    const { api } = await serve({}, { token: null });
    const headers = { host: 'evil.example', origin: 'https://evil.example' };
    expect((await api.inject({ method: 'POST', url: '/v1/operations', payload: { kind: 'install' }, headers }, 'socket')).statusCode).toBe(
      202,
    );
    expect((await api.inject({ method: 'POST', url: '/v1/operations', payload: { kind: 'install' } })).statusCode).toBe(401);
  });
});

describe('errors', () => {
  it.each<[string, string, number, string]>([
    ['GET', '/nothing', 404, 'NOT_FOUND'],
    ['POST', '/nothing', 404, 'NOT_FOUND'],
    ['GET', '/v1/operations/none', 404, 'OPERATION_NOT_FOUND'],
    ['GET', '/v1/operations/none/events', 404, 'OPERATION_NOT_FOUND'],
    ['GET', '/v1/instances/9/logs', 404, 'INSTANCE_NOT_FOUND'],
    ['GET', '/v1/logs?source=..%2Fetc', 400, 'REQUEST_INVALID'],
    ['GET', '/v1/logs?lines=-1', 400, 'REQUEST_INVALID'],
    ['GET', '/v1/events?backlog=99999', 400, 'REQUEST_INVALID'],
    ['GET', '/health?token=abc', 401, 'UNAUTHORIZED'],
    ['DELETE', '/health', 405, 'METHOD_NOT_ALLOWED'],
    ['GET', '/v1/instances/0', 405, 'METHOD_NOT_ALLOWED'],
    ['POST', '/v1/operations/one/events?x=1', 405, 'METHOD_NOT_ALLOWED'],
    ['GET', '/v1/instances/0/1', 404, 'NOT_FOUND'],
    ['GET', '/%E0%A4%A', 400, 'REQUEST_INVALID'],
  ])('%s %s: %i', async (method, url, status, code) => {
    const { api } = await serve();
    const answer = await api.inject({ method: method as 'GET', url });
    expect([answer.statusCode, ErrorDocument.parse(answer.json()).error.code]).toEqual([status, code]);
    if (status === 405) expect(answer.headers['allow']).toMatch(/^[A-Z, ]+$/);
    if (status === 401) expect(answer.headers['www-authenticate']).toMatch(/^Bearer/);
  });

  it('hides its own faults and logs them', async () => {
    const log = memoryLogger();
    const { api } = await serve({ health: () => Promise.reject(new TypeError('secret path /etc/x')) }, { log });
    const answer = await api.inject({ url: '/health/comfyui' });
    expect(answer.statusCode).toBe(500);
    expect(answer.body).not.toContain('secret path');
    expect(ErrorDocument.parse(answer.json()).error.code).toBe('INTERNAL');
    expect(log.entries.filter((entry) => entry.level === 'error')).toHaveLength(1);
  });
});

describe('web pages of others', () => {
  it('tells an allowed page that it may, and no other; never everybody', async () => {
    const { api } = await serve({}, { allowedOrigins: ['https://panel.example'] });
    const ask = (origin: string, method: 'GET' | 'OPTIONS' = 'GET') => api.inject({ method, url: '/v1/status', headers: { origin } });
    const allowed = await ask('https://panel.example');
    expect([allowed.statusCode, allowed.headers['access-control-allow-origin'], allowed.headers['vary']]).toEqual([
      200,
      'https://panel.example',
      'Origin',
    ]);
    const preflight = await ask('https://panel.example', 'OPTIONS');
    expect([preflight.statusCode, preflight.headers['access-control-allow-headers']]).toEqual([
      204,
      'authorization, content-type, last-event-id',
    ]);
    const foreign = await ask('https://evil.example');
    expect([foreign.statusCode, foreign.json().error.code, foreign.headers['access-control-allow-origin']]).toEqual([
      403,
      'ORIGIN_REFUSED',
      undefined,
    ]);
    expect((await ask('https://evil.example', 'OPTIONS')).headers['access-control-allow-methods']).toBeUndefined();
  });

  it.each(['/', '/docs'])('%s loads nothing from elsewhere and runs no inline script', async (url) => {
    const { api } = await serve();
    const page = await api.inject({ url });
    expect(page.headers['content-type']).toBe('text/html; charset=utf-8');
    expect(page.headers['content-security-policy']).toContain("default-src 'none'");
    expect(page.headers['content-security-policy']).not.toContain('unsafe');
    const links = [...page.body.matchAll(/(?:src|href)="([^"]*)"/g)].map((match) => match[1] ?? '');
    expect(links.length).toBeGreaterThan(2);
    for (const link of links.filter((candidate) => !candidate.startsWith('data:'))) {
      expect((await api.inject({ url: new URL(link, `http://agent${url}`).pathname })).statusCode, link).toBeLessThan(404);
    }
    expect(page.body).not.toMatch(/<script>|style="| on\w+="/);
  });
});
