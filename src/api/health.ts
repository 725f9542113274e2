import { z } from 'zod';
import type { Agent } from '../domain/agent.ts';
import { ErrorDocument } from '../domain/errors/document.ts';
import {
  HealthDocument,
  InstallationDocument,
  InstancesDocument,
  LivenessDocument,
  ModelsDocument,
  ReadyDocument,
} from '../domain/health/health.ts';
import { InstanceDocument } from '../domain/instances/instance.ts';
import { type App, about, refusals } from './app-types.ts';

/**
 * The answers that load balancers and workers act on: status code and body from the same cached document. Nothing here
 * waits for ComfyUI, nothing is validated on the way out, and the text of a document is made once.
 */

const OK = 200;
const UNAVAILABLE = 503;
type HealthCode = typeof OK | typeof UNAVAILABLE;
const code = (fine: boolean): HealthCode => (fine ? OK : UNAVAILABLE);

/** A machine on which ComfyUI is switched off is as it should be: 200, with `disabled` in the body. */
export const healthCode = (health: HealthDocument): HealthCode =>
  code(health.status === 'disabled' || health.status === 'healthy' || (health.status === 'degraded' && health.ready));
export const instanceCode = (instance: InstanceDocument): HealthCode => code(instance.ready || instance.status === 'disabled');
/** Unknown is not "nothing is missing": 200 is said only when it was seen. */
export const modelsCode = (models: ModelsDocument): HealthCode => code(models.status === 'pass' || models.status === 'disabled');

const open = { access: 'open', probe: true } as const;
const TAG = 'health';
/** GPU index or UUID ("GPU-…", "MIG-…"). */
export const GpuReference = z.object({ gpu: z.string().min(1).max(80).describe('GPU index, or UUID') });

export function healthRoutes(app: App, agent: Agent): void {
  app.get(
    '/health',
    {
      config: open,
      schema: {
        ...about(TAG, 'getLiveness', 'The agent itself lives', '200 also during an installation'),
        response: { 200: LivenessDocument, ...refusals.open },
      },
    },
    () => agent.liveness(),
  );
  app.get(
    '/ready',
    {
      config: open,
      schema: {
        ...about(TAG, 'getReady', 'Enough instances are ready (health.minReady)'),
        response: { 200: ReadyDocument, 503: ReadyDocument, ...refusals.open },
      },
    },
    async (_request, reply) => {
      const document = await agent.ready();
      return reply.code(code(document.ready)).send(document);
    },
  );
  app.get(
    '/health/comfyui',
    {
      config: open,
      schema: {
        ...about(TAG, 'getHealth', 'All layers in one answer', '200 healthy, disabled, or degraded while health.minReady is met; else 503'),
        response: { 200: HealthDocument, 503: HealthDocument, ...refusals.open },
      },
    },
    async (_request, reply) => {
      const document = await agent.health();
      return reply.code(healthCode(document)).send(document);
    },
  );
  app.get(
    '/health/comfyui/installation',
    {
      config: open,
      schema: {
        ...about(
          TAG,
          'getInstallation',
          'The installation, with progress and node packs',
          '200 when a release is in place and whole; 503 not yet, or broken',
        ),
        response: { 200: InstallationDocument, 503: InstallationDocument, ...refusals.open },
      },
    },
    async (_request, reply) => {
      const document = await agent.installation();
      return reply.code(code(document.ok)).send(document);
    },
  );
  app.get(
    '/health/comfyui/instances',
    {
      config: open,
      schema: {
        ...about(TAG, 'getInstances', 'All instances', '200 when health.minReady is met'),
        response: { 200: InstancesDocument, 503: InstancesDocument, ...refusals.open },
      },
    },
    async (_request, reply) => {
      const document = await agent.instances();
      return reply.code(code(document.ready)).send(document);
    },
  );
  app.get(
    '/health/comfyui/instances/:gpu',
    {
      config: open,
      schema: {
        ...about(TAG, 'getInstance', 'One instance', '200 ready; 503 not ready, or the cards were not seen yet; 404 no such GPU'),
        params: GpuReference,
        response: { 200: InstanceDocument, 503: z.union([InstanceDocument, ErrorDocument]), 404: ErrorDocument, ...refusals.open },
      },
    },
    async (request, reply) => {
      const document = await agent.instance(request.params.gpu);
      return reply.code(instanceCode(document)).send(document);
    },
  );
  app.get(
    '/health/comfyui/models',
    {
      config: open,
      schema: {
        ...about(
          TAG,
          'getModels',
          'Required model files',
          '200 when nothing required is missing or corrupt; 503 also while that is not known',
        ),
        response: { 200: ModelsDocument, 503: ModelsDocument, ...refusals.open },
      },
    },
    async (_request, reply) => {
      const document = await agent.models();
      return reply.code(modelsCode(document)).send(document);
    },
  );
}
