import { z } from 'zod';
import { PlanDocument } from '../domain/action.ts';
import { ConfigDocument, GpusDocument, PortsDocument, ReleasesDocument, StatusDocument, VersionDocument } from '../domain/agent.ts';
import { Gpu, MachineFacts } from '../domain/cards/gpu.ts';
import { DoctorDocument } from '../domain/doctor/doctor.ts';
import { ErrorDocument } from '../domain/errors/document.ts';
import {
  HealthDocument,
  InstallationDocument,
  InstancesDocument,
  LivenessDocument,
  ModelStatus,
  ModelsDocument,
  ReadyDocument,
} from '../domain/health/health.ts';
import { Hold } from '../domain/hold.ts';
import { DriftDocument } from '../domain/installation/drift.ts';
import { InstallProgress, PackStatus, Release } from '../domain/installation/release.ts';
import { DiscoveredInstance, DiscoveryDocument, PrometheusTargets } from '../domain/instances/discovery.ts';
import { InstanceDocument, InstancePatch, LayerHealth } from '../domain/instances/instance.ts';
import { JournalEvent, LogLine } from '../domain/journal.ts';
import { OperationDocument, OperationRequest } from '../domain/operation.ts';
import { StateDocument } from '../domain/state/state.ts';
import type { App } from './app-types.ts';
import { LogLines } from './instances.ts';
import { isRecord, type JsonObject, tidy } from './openapi-tidy.ts';
import { OperationList } from './operations.ts';

/** Version of the interface, not of the program: grows with the routes. */
const API_VERSION = '1.0.0';

/** Names of components: what a generated client calls its types. */
const components: Readonly<Record<string, z.ZodType>> = {
  ConfigDocument,
  DiscoveredInstance,
  DiscoveryDocument,
  DoctorDocument,
  DriftDocument,
  ErrorDocument,
  Gpu,
  GpusDocument,
  HealthDocument,
  Hold,
  InstallProgress,
  InstallationDocument,
  InstanceDocument,
  InstancePatch,
  InstancesDocument,
  JournalEvent,
  LayerHealth,
  LivenessDocument,
  LogLine,
  LogLines,
  MachineFacts,
  ModelStatus,
  ModelsDocument,
  OperationDocument,
  OperationList,
  OperationRequest,
  PackStatus,
  PlanDocument,
  PortsDocument,
  PrometheusTargets,
  ReadyDocument,
  Release,
  ReleasesDocument,
  StateDocument,
  StatusDocument,
  VersionDocument,
};

const tags = [
  { name: 'health', description: 'Open. Served from a cache that probes fill: an answer never waits for ComfyUI.' },
  { name: 'discovery', description: 'Open. What workers, load balancers and Prometheus need.' },
  { name: 'operations', description: 'Long work: install, reinstall, start, stop, restart, drain.' },
  { name: 'instances', description: 'One ComfyUI for each GPU.' },
  { name: 'machine', description: 'The loop: desired, observed, plan, journal.' },
  { name: 'pages', description: 'For people.' },
];

/**
 * The OpenAPI 3.1 document of the routes that `build` registers, generated from the schemas they are declared with.
 * Made on an application that never listens, so that those which do carry none of it.
 */
export async function describeApi(build: (beforeRoutes: (app: App) => Promise<void>) => Promise<App>): Promise<JsonObject> {
  const [{ default: swagger }, { createJsonSchemaTransform, createJsonSchemaTransformObject }] = await Promise.all([
    import('@fastify/swagger'),
    import('fastify-type-provider-zod'),
  ]);
  const schemaRegistry = z.registry<{ id?: string | undefined; [key: string]: unknown }>();
  for (const [id, schema] of Object.entries(components)) schemaRegistry.add(schema, { id });
  const app = await build(async (fresh) => {
    await fresh.register(swagger, {
      openapi: {
        openapi: '3.1.0',
        info: {
          title: 'comfylet',
          version: API_VERSION,
          description:
            'One agent for each GPU machine: installs ComfyUI, runs one instance for each GPU, and tells the truth about their health. Every path is also on the unix socket, where no token is needed.',
          license: { name: 'AGPL-3.0-only', identifier: 'AGPL-3.0-only' },
        },
        servers: [{ url: '/', description: 'this agent' }],
        tags,
        components: { securitySchemes: { token: { type: 'http', scheme: 'bearer', description: 'AGENT_TOKEN of this agent' } } },
      },
      exposeHeadRoutes: false,
      transform: createJsonSchemaTransform({ schemaRegistry }),
      transformObject: createJsonSchemaTransformObject({ schemaRegistry }),
    });
  });
  await app.ready();
  const document: unknown = (app as unknown as { swagger(): unknown }).swagger();
  await app.close();
  if (!isRecord(document)) throw new TypeError('the OpenAPI document is no object');
  return tidy(document);
}
