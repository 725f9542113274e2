import { AgentError } from '../../domain/errors/errors.ts';
import { Moves } from '../../domain/installation/lock.ts';
import type { OperationDocument, OperationKind, OperationRequest } from '../../domain/operation.ts';
import type { InstallationIntent } from '../../domain/state/state.ts';
import { installationWish } from '../../plan/installation/installation.ts';
import { movesNothing } from '../../plan/installation/lock.ts';
import type { Ports } from '../../ports.ts';
import type { Knowledge } from '../knowledge.ts';
import type { OperationHandle, Operations } from '../operations.ts';
import { forgetPin } from '../releases/rollback.ts';
import type { RolloutContext } from '../releases/rollout.ts';
import type { StateStore } from '../state/store.ts';
import { createBundle } from './bundle/create.ts';
import type { Installer } from './installer.ts';

export type InstallationKind = Extract<OperationKind, 'install' | 'reinstall' | 'update'>;

export interface InstallationOperations {
  readonly knowledge: Knowledge;
  readonly state: StateStore;
  readonly rollouts: RolloutContext;
  readonly operations: Operations;
  readonly installer: Installer;
  readonly now: () => number;
  readonly trigger: () => Promise<void>;
}

/**
 * install, reinstall and update by an operator: resolves once the wish is written down, so that an agent which is killed from then
 * on is followed by one that goes on. An installation that already runs is given as it is.
 */
export async function requestInstallation(
  context: InstallationOperations,
  kind: InstallationKind,
  request: OperationRequest,
): Promise<OperationDocument> {
  const { clean = false, locked = false, dryRun = false, bundle = null } = request;
  if (bundle !== null && (kind !== 'install' || dryRun))
    throw new AgentError('REQUEST_INVALID', 'a bundle can only be installed', { help: 'name `bundle` with kind install, without dryRun' });
  const running = context.operations.running('installation');
  if (running !== null) {
    // It may be about to write down what it is of.
    await context.state.settled();
    // Another installation would reach for the network; who names a bundle must not be told that it is done.
    if (bundle !== null && context.knowledge.intents.installation?.bundle !== bundle)
      throw new AgentError('HELD', `${running.kind} is running; the bundle was not begun`, {
        help: 'wait for it to end, then run the command again',
      });
    return running;
  }
  const moves = kind === 'update' ? Moves.parse(request.moves ?? {}) : null;
  if (moves !== null && movesNothing(moves))
    throw new AgentError('REQUEST_INVALID', 'an update needs to be told what to move', {
      help: 'name `all`, `core` or `packs` in `moves`',
    });
  if (dryRun)
    return context.operations.start(kind, 'installation', `${kind} --dry-run was asked for`, (handle) =>
      context.installer.run(handle, { fresh: false, clean: false, moves, locked, dryRun, bundle: null, requestedAt: null }),
    );
  const wish: InstallationIntent = { requestedAt: context.now(), fresh: kind === 'reinstall', clean, moves, bundle };
  const operation = context.operations.start(kind, 'installation', `${kind} was asked for`, (handle) =>
    install(context, handle, { wish, locked, kept }),
  );
  const kept = context.state.change((intents) => ({ ...intents, installation: wish }));
  await kept;
  return operation;
}

/** Writes an offline bundle of the release in place; an installation that runs is given as it is. */
export async function requestBundle(
  { operations, knowledge }: InstallationOperations,
  ports: Ports,
  createdBy: string,
  { bundle: file, withModels = false }: OperationRequest,
): Promise<OperationDocument> {
  if (file === undefined) throw new AgentError('REQUEST_INVALID', 'a bundle needs a file', { help: 'name the new file in `bundle`' });
  return operations.start('bundle', 'installation', 'a bundle was asked for', (handle) =>
    createBundle(ports, knowledge, handle, { file, withModels, createdBy }),
  );
}

/** The same, by the loop: what is missing, or what an earlier agent was asked for and did not finish. */
export function beginInstallation(context: InstallationOperations, reason: string): OperationDocument {
  const { knowledge, operations } = context;
  const wish = knowledge.observed === null ? null : installationWish(knowledge.intents, knowledge.observed);
  return operations.start(
    wish === null ? 'install' : wish.moves !== null ? 'update' : wish.fresh ? 'reinstall' : 'install',
    'installation',
    reason,
    (handle) => install(context, handle, { wish, locked: false, kept: Promise.resolve() }),
  );
}

async function install(
  context: InstallationOperations,
  handle: OperationHandle,
  { wish, locked, kept }: { readonly wish: InstallationIntent | null; readonly locked: boolean; readonly kept: Promise<void> },
): Promise<string> {
  const { installer, trigger } = context;
  try {
    await kept;
    const message = await installer.run(handle, {
      fresh: wish?.fresh ?? false,
      clean: wish?.clean ?? false,
      moves: wish?.moves ?? null,
      locked,
      dryRun: false,
      bundle: wish?.bundle ?? null,
      requestedAt: wish?.requestedAt ?? null,
    });
    const forgotten = [await forgetWish(context), wish === null ? null : await forgetPin(context.rollouts)];
    // The new release is seen before the operation ends, so that no document says otherwise.
    await trigger();
    const trouble = forgotten.find((reason) => reason !== null) ?? null;
    return trouble === null ? message : `${message}; done, but not remembered: ${trouble}`;
  } catch (error) {
    // Told by the operation. What only the end of the agent cut short is still wished for.
    if (!handle.signal.aborted) await forgetWish(context);
    throw error;
  }
}

/** One that stays on a disk that is full asks for nothing once its release is there. */
const forgetWish = ({ state }: InstallationOperations): Promise<string | null> =>
  state.note('the end of the installation', (intents) => (intents.installation === null ? intents : { ...intents, installation: null }));
