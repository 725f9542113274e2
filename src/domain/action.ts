import { z } from 'zod';
import { FaultKind } from './faults/verdict.ts';
import { Hold } from './hold.ts';
import { instanceTarget, processTarget, type Target } from './identity.ts';

/**
 * Everything the agent can do, as plain data. The planner returns actions, `engine/execute.ts` carries them out; each is
 * idempotent and may be cut at any point.
 */
export const Action = z.discriminatedUnion('kind', [
  z.object({ kind: z.literal('install'), reason: z.string(), specDigest: z.string() }),
  z.object({ kind: z.literal('switch-release'), release: z.string(), reason: z.string() }),
  z.object({ kind: z.literal('end-rollout'), release: z.string(), reason: z.string(), trouble: z.string().nullable() }),
  z.object({ kind: z.literal('take-back-release'), release: z.string(), reason: z.string() }),
  z.object({ kind: z.literal('lease-port'), gpu: z.int(), tcpPort: z.int(), reason: z.string() }),
  z.object({ kind: z.literal('start-instance'), gpu: z.int(), name: z.string(), reason: z.string() }),
  z.object({
    kind: z.literal('stop-instance'),
    gpu: z.int(),
    name: z.string(),
    reason: z.string(),
    /** As for restart-instance: it is started again after a pause. */
    fault: FaultKind.nullable(),
  }),
  z.object({ kind: z.literal('trial-start'), gpu: z.int(), name: z.string(), reason: z.string() }),
  z.object({ kind: z.literal('release-instance'), gpu: z.int(), name: z.string(), reason: z.string() }),
  z.object({
    kind: z.literal('restart-instance'),
    gpu: z.int(),
    name: z.string(),
    reason: z.string(),
    /** The fault that calls for it: counts against the instance as a crash does. null: asked for, or a change. */
    fault: FaultKind.nullable(),
  }),
  z.object({
    kind: z.literal('free-memory'),
    gpu: z.int(),
    name: z.string(),
    reason: z.string(),
    /** `since` of the verdict: it is done once for each. */
    since: z.string(),
  }),
  z.object({ kind: z.literal('end-leftovers'), gpu: z.int(), name: z.string(), reason: z.string() }),
  z.object({ kind: z.literal('remove-process'), name: z.string(), reason: z.string() }),
  z.object({ kind: z.literal('quarantine-instance'), gpu: z.int(), name: z.string(), reason: z.string(), fault: FaultKind }),
]);
export type Action = z.infer<typeof Action>;
export type ActionKind = Action['kind'];

/** Actions with one target run one after the other; different targets run side by side. */
export const actionTarget = (action: Action): Target => {
  if (action.kind === 'install') return 'installation';
  if (action.kind === 'switch-release' || action.kind === 'end-rollout' || action.kind === 'take-back-release') return 'rollout';
  if (action.kind === 'remove-process') return processTarget(action.name);
  return instanceTarget(action.gpu);
};

/** GET /v1/plan and `agent plan`: what the agent would do now, and what holds it. */
export const PlanDocument = z.object({ actions: z.array(Action), holds: z.array(Hold) });
export type PlanDocument = z.infer<typeof PlanDocument>;
