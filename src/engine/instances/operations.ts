import { AgentError } from '../../domain/errors/errors.ts';
import type { Documents } from '../../domain/health/documents.ts';
import { instanceTarget } from '../../domain/identity.ts';
import type { InstanceDocument, InstancePatch } from '../../domain/instances/instance.ts';
import type { OperationDocument, OperationKind, OperationRequest } from '../../domain/operation.ts';
import type { InstanceIntent } from '../../domain/state/state.ts';
import { intentOf, withInstance } from '../../plan/instances/intents.ts';
import type { Journal } from '../journal.ts';
import type { Knowledge } from '../knowledge.ts';
import type { OperationHandle, Operations } from '../operations.ts';
import { forgiveExits } from '../records.ts';
import type { StateStore } from '../state/store.ts';

type InstanceVerb = Exclude<OperationKind, 'install' | 'reinstall' | 'update' | 'rollback' | 'bundle' | 'cleanup'>;

export interface InstanceOperations {
  readonly execution: { readonly knowledge: Knowledge; readonly state: StateStore };
  readonly journal: Journal;
  readonly operations: Operations;
  readonly now: () => number;
  readonly trigger: () => Promise<void>;
  readonly documents: () => Documents;
  /** Every change of the documents, the present ones first. */
  readonly changes: (signal: AbortSignal) => AsyncIterable<Documents>;
}

/** What each verb writes down; the loop does the rest. */
const intents: Readonly<Record<InstanceVerb, (request: OperationRequest, now: number) => Partial<InstanceIntent>>> = {
  start: () => ({ desired: 'running', draining: false, quarantined: null, quarantine: null }),
  stop: ({ drain }) => (drain === true ? { draining: true } : { desired: 'stopped', draining: false }),
  restart: ({ drain }, now) => ({
    desired: 'running',
    draining: false,
    quarantined: null,
    quarantine: null,
    restartRequestedAt: now,
    drainBeforeRestart: drain === true,
  }),
  drain: () => ({ draining: true }),
};

/** start, stop, restart, drain: writes the wish down, for all or none of them, and follows until it is so. */
export function startInstanceOperation(context: InstanceOperations, kind: InstanceVerb, request: OperationRequest): OperationDocument {
  const present = context.documents().instances.instances.map((instance) => instance.gpu);
  const gpus = request.gpus === undefined || request.gpus.length === 0 ? present : [...new Set(request.gpus)].sort((a, b) => a - b);
  const absent = gpus.find((gpu) => !present.includes(gpu));
  if (absent !== undefined)
    throw new AgentError(
      'INSTANCE_NOT_FOUND',
      `there is no GPU ${absent}; there ${present.length === 1 ? 'is' : 'are'} ${present.join(', ') || 'none'}`,
    );
  if (gpus.length === 0) throw new AgentError('HELD', 'there are no instances: no GPU was found yet or ComfyUI is disabled');
  const target = gpus.length === present.length && gpus.length > 1 ? 'all instances' : `instance ${gpus.join(', ')}`;
  const run = async (handle: OperationHandle): Promise<string> => {
    let requestedAt = 0;
    // A later wish may be written down already.
    const left = () => gpus.filter((gpu) => !handle.superseded.has(instanceTarget(gpu)));
    await context.execution.state.change((before) => {
      requestedAt = context.now();
      return left().reduce((changed, gpu) => withInstance(changed, gpu, intents[kind](request, requestedAt)), before);
    });
    handle.signal.throwIfAborted();
    if (kind === 'start' || kind === 'restart') for (const gpu of left()) forgiveExits(context.journal, context.execution.knowledge, gpu);
    await context.trigger();
    return follow(context, handle, kind, gpus, requestedAt);
  };
  return context.operations.start(kind, target, `${kind} ${target}`, run, gpus.map(instanceTarget));
}

async function follow(
  context: InstanceOperations,
  handle: OperationHandle,
  kind: InstanceVerb,
  gpus: readonly number[],
  requestedAt: number,
): Promise<string> {
  // By the present clock, which may have been set since.
  const { knowledge } = context.execution;
  const shiftThen = knowledge.clockShiftMs;
  const askedAt = (): number => requestedAt + knowledge.clockShiftMs - shiftThen;
  const isDone =
    kind === 'start' || kind === 'restart'
      ? (instance: InstanceDocument) => isUp(instance, kind === 'restart' ? askedAt() : 0)
      : (instance: InstanceDocument) => instance.status === 'stopped';
  let told = '';
  for await (const documents of context.changes(handle.signal)) {
    const left = gpus.filter((gpu) => !handle.superseded.has(instanceTarget(gpu)));
    const wanted = documents.instances.instances.filter((instance) => left.includes(instance.gpu));
    const done = wanted.filter(isDone);
    const first = wanted.find((instance) => !isDone(instance));
    const notes = [...handle.superseded].map(([subject, by]) => `; ${subject} was superseded by ${by}`).join('');
    if (first === undefined) return `${kind} done: ${left.length} instance${left.length === 1 ? '' : 's'}${notes}`;
    if (kind === 'start' || kind === 'restart') refuseHopeless(documents, first, askedAt());
    const waitsFor = `gpu ${first.gpu} ${first.hold ?? first.layers.runtime.reason ?? first.layers.functional.reason ?? first.status}`;
    const message = `${done.length}/${left.length} done, ${waitsFor}${notes}`;
    if (message === told) continue;
    told = message;
    handle.update({ progress: done.length / left.length, message });
  }
  handle.signal.throwIfAborted();
  throw new AgentError('INTERRUPTED', 'the agent is stopping');
}

/** Serving and proved; a cordon does not keep a start from being done. */
const isUp = (instance: InstanceDocument, since: number): boolean =>
  instance.startedAt !== null &&
  Date.parse(instance.startedAt) >= since - CLOCK_TICK_MS &&
  instance.layers.runtime.status === 'pass' &&
  instance.layers.functional.status === 'pass';

/** Start times come from the kernel in hundredths of a second. */
const CLOCK_TICK_MS = 20;

/** What waiting cannot heal is told at once. */
function refuseHopeless(documents: Documents, instance: InstanceDocument, requestedAt: number): void {
  const hold = documents.health.holds.find(
    (candidate) => candidate.target === instanceTarget(instance.gpu) && HOPELESS.has(candidate.code),
  );
  if (hold !== undefined) throw new AgentError('HELD', `gpu ${instance.gpu}: ${hold.reason}`, { help: hold.help });
  const { functional } = instance.layers;
  if (instance.startedAt !== null && Date.parse(instance.startedAt) >= requestedAt - CLOCK_TICK_MS && functional.status === 'fail') {
    throw new AgentError('INSTANCE_FAILED', `gpu ${instance.gpu}: ${functional.reason ?? 'the canary failed'}`);
  }
}

const HOPELESS = new Set(['PORT_HELD', 'PORT_OUT_OF_RANGE', 'GPU_FOREIGN_PROCESS', 'QUARANTINED']);

/** PATCH of one instance: the same wishes, without waiting. */
export async function patchIntent(context: InstanceOperations, gpu: number, patch: InstancePatch): Promise<void> {
  const change: Partial<InstanceIntent> = {
    ...(patch.desired === undefined ? {} : { desired: patch.desired, ...(patch.desired === 'running' ? { draining: false } : {}) }),
    ...(patch.drain === undefined ? {} : { draining: patch.drain }),
    ...(patch.cordoned === undefined ? {} : { cordoned: patch.cordoned }),
    ...(patch.quarantined === undefined ? {} : { quarantined: null, quarantine: null }),
  };
  const { state, knowledge } = context.execution;
  await state.change((before) => withInstance(before, gpu, change));
  if (patch.quarantined === false) forgiveExits(context.journal, knowledge, gpu);
  // Whoever waits for the opposite would wait for ever.
  const { desired, draining } = intentOf(knowledge.intents, gpu);
  const isDown = desired === 'stopped' || draining;
  context.operations.supersede(
    [instanceTarget(gpu)],
    'a later change of its state',
    (kind) => (kind === 'stop' || kind === 'drain') !== isDown,
  );
  await context.trigger();
}
