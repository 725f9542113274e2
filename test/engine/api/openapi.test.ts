import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { z } from 'zod';
import type { Api } from '../../../src/api/server.ts';
import { fakeAgent } from '../../fakes/agent.ts';
import { anApi } from '../../support/machine/api.ts';

const Answer = z.strictObject({
  description: z.string().min(1),
  content: z.record(z.string(), z.strictObject({ schema: z.record(z.string(), z.unknown()) })).optional(),
});
const Parameter = z.looseObject({
  name: z.string(),
  in: z.enum(['path', 'query']),
  required: z.boolean(),
  schema: z.record(z.string(), z.unknown()),
});
const Operation = z.strictObject({
  operationId: z.string(),
  summary: z.string().min(5),
  description: z.string().optional(),
  tags: z.tuple([z.string()]),
  security: z.array(z.record(z.string(), z.array(z.string()))).optional(),
  parameters: z.array(Parameter).optional(),
  requestBody: z.strictObject({ required: z.literal(true), content: z.record(z.string(), z.unknown()) }).optional(),
  responses: z.record(z.string().regex(/^[1-5]\d\d$/), Answer),
});
/** The parts of OpenAPI 3.1 that this document uses, and nothing else. */
const Document = z.looseObject({
  openapi: z.literal('3.1.0'),
  info: z.looseObject({ title: z.string(), version: z.string() }),
  tags: z.array(z.looseObject({ name: z.string() })),
  paths: z.record(z.string().startsWith('/'), z.partialRecord(z.enum(['get', 'post', 'patch']), Operation)),
  components: z.looseObject({ schemas: z.record(z.string().regex(/^[A-Z]\w+$/), z.record(z.string(), z.unknown())) }),
});

let api: Api;
let raw: object;
let document: z.infer<typeof Document>;
beforeAll(async () => {
  api = await anApi(fakeAgent());
  raw = await api.openApi();
  document = Document.parse(raw);
});
afterAll(() => api.close());

const operations = () =>
  Object.entries(document.paths).flatMap(([path, item]) =>
    Object.entries(item).map(([method, operation]) => ({ path, method, operation: operation as z.infer<typeof Operation> })),
  );

describe('the OpenAPI document', () => {
  it('holds every route of the interface', () => {
    expect(
      operations()
        .map(({ path, method }) => `${method} ${path}`)
        .sort(),
    ).toEqual([
      'get /',
      'get /docs',
      'get /health',
      'get /health/comfyui',
      'get /health/comfyui/installation',
      'get /health/comfyui/instances',
      'get /health/comfyui/instances/{gpu}',
      'get /health/comfyui/models',
      'get /metrics',
      'get /openapi.json',
      'get /ready',
      'get /v1/config',
      'get /v1/discovery',
      'get /v1/discovery/events',
      'get /v1/discovery/prometheus',
      'get /v1/doctor',
      'get /v1/drift',
      'get /v1/events',
      'get /v1/gpus',
      'get /v1/instances/{gpu}/logs',
      'get /v1/logs',
      'get /v1/operations',
      'get /v1/operations/{id}',
      'get /v1/operations/{id}/events',
      'get /v1/plan',
      'get /v1/ports',
      'get /v1/releases',
      'get /v1/state',
      'get /v1/status',
      'get /v1/version',
      'patch /v1/instances/{gpu}',
      'post /v1/gpus/accept',
      'post /v1/operations',
    ]);
  });

  it('is served as it is', async () => {
    expect((await api.inject({ url: '/openapi.json' })).json()).toEqual(JSON.parse(JSON.stringify(raw)));
  });

  it('names each operation once, with a known tag and its path parameters', () => {
    const ids = operations().map(({ operation }) => operation.operationId);
    expect(new Set(ids).size).toBe(ids.length);
    const tags = document.tags.map((tag) => tag.name);
    for (const { path, operation } of operations()) {
      expect(tags).toContain(operation.tags[0]);
      const named = [...path.matchAll(/\{(\w+)\}/g)].map((match) => match[1]);
      expect((operation.parameters ?? []).filter((parameter) => parameter.in === 'path').map((parameter) => parameter.name)).toEqual(named);
    }
  });

  it('refers to components that are there, and has none that nobody uses', () => {
    const used = new Set([...JSON.stringify(raw).matchAll(/#\/components\/schemas\/(\w+)/g)].map((match) => match[1]));
    expect([...used].sort()).toEqual(Object.keys(document.components.schemas).sort());
    expect(Object.keys(document.components.schemas).filter((name) => name.endsWith('Input'))).toEqual([]);
  });

  it('answers every JSON route with a named schema of the domain', () => {
    const unnamed = operations().flatMap(({ path, operation }) => {
      const schema = (operation.responses['200'] ?? operation.responses['202'])?.content?.['application/json']?.schema;
      return schema === undefined || '$ref' in schema ? [] : [path];
    });
    expect(unnamed).toEqual(['/openapi.json']);
  });

  it('says where a token is needed', () => {
    const needing = operations().filter(({ operation }) => JSON.stringify(operation.security) === '[{"token":[]}]');
    expect(needing.map(({ path, method }) => `${method} ${path}`).sort()).toEqual([
      'get /v1/doctor',
      'get /v1/drift',
      'patch /v1/instances/{gpu}',
      'post /v1/gpus/accept',
      'post /v1/operations',
    ]);
    for (const { operation } of operations()) expect('401' in operation.responses).toBe(operation.security !== undefined);
  });
});
