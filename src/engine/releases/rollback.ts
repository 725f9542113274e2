import type { OperationDocument, OperationRequest } from '../../domain/operation.ts';
import { lockDifference } from '../../plan/installation/lock.ts';
import type { OperationHandle, Operations } from '../operations.ts';
import { chooseEarlier, readReleaseLock } from './releases.ts';
import { followMove, moveTo, type RolloutContext } from './rollout.ts';

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
  if (request.dryRun === true && running === null)
    return operations.start('rollback', 'installation', 'rollback --dry-run was asked for', () => differenceTo(rollouts, to));
  if (running !== null) {
    operations.supersede(['installation'], `rollback to ${to}`, () => true);
    for await (const _ of operations.follow(running.id, new AbortController().signal));
  }
  const from = (await ports.files.readLink(layout.current))?.split('/').at(-1) ?? 'none';
  const reason = `rolled back from ${from}`;
  const started = ports.clock.monotonic();
  const quarantined = Object.entries(knowledge.intents.instances).filter(([, { quarantined: why }]) => why !== null);
  await moveTo(rollouts, {
    to,
    direction: 'back',
    reason,
    atOnce: request.atOnce === true,
    rejected: null,
    pinnedRelease: { release: to, reason, specDigest: null },
    absolved: quarantined.map(([gpu]) => Number(gpu)),
  });
  const switchedMs = Math.round(ports.clock.monotonic() - started);
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

const CHANGES_TOLD = 10;

/** What going back would change, in one line. */
async function differenceTo({ ports, knowledge }: RolloutContext, to: string): Promise<string> {
  const { files } = ports;
  const { layout } = knowledge.configuration;
  const from = (await files.readLink(layout.current))?.split('/').at(-1) ?? 'none';
  const [present, earlier] = await Promise.all([from, to].map((id) => readReleaseLock(files, layout, id)));
  const would = `release ${to} would be used in place of ${from}`;
  if (present === null || present === undefined || earlier === null || earlier === undefined)
    return `${would}; what differs is not recorded`;
  const changes = lockDifference(present, earlier);
  const told = changes
    .slice(0, CHANGES_TOLD)
    .map(({ part, name, before, after }) => `${part} ${name}: ${before ?? 'none'} -> ${after ?? 'none'}`);
  const more = changes.length > told.length ? `; and ${changes.length - told.length} more` : '';
  return changes.length === 0 ? `${would}; both hold the same` : `${would}; ${told.join('; ')}${more}`;
}

async function follow({ rollouts, trigger }: RollbackOperations, handle: OperationHandle, to: string, from: string): Promise<string> {
  await trigger();
  await followMove(rollouts, handle.signal, to, (message) => handle.update({ message: `release ${to}: ${message}` }));
  await trigger();
  const later = rollouts.knowledge.intents.rollout !== null ? '; instances move when the agent runs' : '';
  return `release ${to} is in use again instead of ${from}${later}; it stays until \`agent install\``;
}

/** What a machine stays at ends when an operator moved on. */
export const forgetPin = ({ state }: Pick<RolloutContext, 'state'>): Promise<string | null> =>
  state.note('that the machine moved on', (intents) => (intents.pinnedRelease === null ? intents : { ...intents, pinnedRelease: null }));
