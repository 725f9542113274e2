import type { OperationDocument, OperationRequest } from '../domain/operation.ts';
import type { OperationHandle, Operations } from './operations.ts';
import { chooseEarlier } from './releases.ts';
import { absolve, followMove, moveTo, type RolloutContext, saveIntents } from './rollout.ts';

export interface RollbackOperations {
  readonly rollouts: RolloutContext;
  readonly operations: Operations;
  readonly trigger: () => Promise<void>;
}

/**
 * rollback by an operator: resolves once `current` is switched. A rollout under way is turned around; an installation that is
 * being built is not cut short: it is given as it is.
 * @throws AgentError RELEASE_UNUSABLE when there is no such release to go to
 */
export async function requestRollback(context: RollbackOperations, request: OperationRequest): Promise<OperationDocument> {
  const { operations, rollouts } = context;
  const { knowledge, ports, journal } = rollouts;
  const running = operations.running('installation');
  if (running !== null && (running.kind === 'rollback' || knowledge.intents.rollout === null)) return running;
  const { layout } = knowledge.configuration;
  const to = await chooseEarlier(ports.files, layout, request.release ?? null);
  if (running !== null) {
    operations.supersede(['installation'], `rollback to ${to}`, () => true);
    for await (const _ of operations.follow(running.id, new AbortController().signal));
  }
  const from = (await ports.files.readLink(layout.current))?.split('/').at(-1) ?? 'none';
  const reason = `rolled back from ${from}`;
  const started = ports.clock.monotonic();
  await moveTo(rollouts, {
    to,
    direction: 'back',
    reason,
    atOnce: request.atOnce === true,
    rejected: null,
    pinnedRelease: { release: to, reason, specDigest: null },
  });
  const switchedMs = Math.round(ports.clock.monotonic() - started);
  const quarantined = Object.entries(knowledge.intents.instances).filter(([, { quarantined: why }]) => why !== null);
  await absolve(
    rollouts,
    quarantined.map(([gpu]) => Number(gpu)),
    reason,
  );
  journal.record({
    type: 'release.rollback',
    target: 'installation',
    level: 'warn',
    message: `${reason} to ${to}; current was switched in ${switchedMs} ms`,
    data: { from, to },
  });
  const run = (handle: OperationHandle) => follow(context, handle, to, from);
  return operations.start('rollback', 'installation', `release ${to} is current; instances follow`, run);
}

async function follow({ rollouts, trigger }: RollbackOperations, handle: OperationHandle, to: string, from: string): Promise<string> {
  await trigger();
  await followMove(rollouts, handle.signal, to, (message) => handle.update({ message: `release ${to}: ${message}` }));
  await trigger();
  const later = rollouts.knowledge.intents.rollout !== null ? '; instances move when the agent runs' : '';
  return `release ${to} is in use again instead of ${from}${later}; it stays until \`agent install\``;
}

/** What a machine stays at ends when an operator moved on. */
export async function forgetPin(context: Pick<RolloutContext, 'knowledge' | 'state'>): Promise<void> {
  if (context.knowledge.intents.pinnedRelease !== null) await saveIntents(context, { pinnedRelease: null });
}
