import { AgentError, asAgentError } from '../../domain/errors/errors.ts';
import type { Moves } from '../../domain/installation/lock.ts';
import type { InstallationSpec, Release } from '../../domain/installation/release.ts';
import { packChanges } from '../../plan/inputs/packs/changes.ts';
import { failedPacks, installationNeed } from '../../plan/installation/installation.ts';
import { observe } from '../observe.ts';
import type { OperationHandle } from '../operations.ts';
import { desiredBy, type Reading, takeReading } from '../reading.ts';
import { collectReleases, readCurrent, removeUnfinished } from '../releases/releases.ts';
import { followMove, moveTo, untilMoved } from '../releases/rollout.ts';
import { withBundle } from './bundle/take.ts';
import type { InstallContext } from './context.ts';
import { withInodes } from './disk-room.ts';
import { findFinished } from './finished.ts';
import { discard, installRelease, planRelease } from './install.ts';
import { type InstallerOptions, type InstallRequest, installContext, type TakenBundle } from './install-context.ts';
import { requireLock } from './require-lock.ts';

/** One installation from the question "is it needed?" to the release in use. */
export class Installer {
  readonly #options: InstallerOptions;

  constructor(options: InstallerOptions) {
    this.#options = options;
  }

  /** @returns the closing message. @throws AgentError of the step that failed */
  async run(handle: OperationHandle, request: InstallRequest): Promise<string> {
    const { ports, knowledge, refresh, rollouts } = this.#options;
    await untilMoved(rollouts, handle.signal, (message) => handle.update({ message: `an earlier rollout comes first: ${message}` }));
    await refresh();
    if (request.bundle === null) return this.#install(handle, request, null);
    this.#requireInputs();
    return withBundle({ ports, knowledge }, handle, request.bundle, async (bundle) => {
      await refresh();
      return this.#install(handle, request, bundle);
    });
  }

  /** @throws AgentError of a file that asks for what is not understood */
  #requireInputs(): void {
    const { inputs } = this.#options.knowledge;
    if (inputs.installationProblem !== null) {
      const { code, message, help } = inputs.installationProblem;
      throw new AgentError(code, message, { help });
    }
  }

  async #install(handle: OperationHandle, request: InstallRequest, bundle: TakenBundle | null): Promise<string> {
    const { ports, knowledge, journal } = this.#options;
    this.#requireInputs();
    const now = takeReading(knowledge);
    const reading: Reading = bundle === null ? now : { ...now, inputs: { ...now.inputs, lock: bundle.lock } };
    const { configuration, intents } = reading;
    const { lock } = reading.inputs;
    const desired = desiredBy(reading);
    // Not put into knowledge: the loop looks too, and may know better by now.
    const observed = await observe(ports, { reading, desired }, { ...knowledge }, new Set(['installation']));
    const { release: previous } = await readCurrent(ports.files, configuration.layout);
    if (request.locked || bundle !== null) requireLock(lock, desired.installation);
    if (request.moves !== null) requireKnownPacks(request.moves, desired.installation);
    const need = request.fresh
      ? 'a new release was asked for'
      : request.moves !== null
        ? 'an update was asked for'
        : (installationNeed({ desired, observed, intents }) ?? failedPacks(previous));
    // What an agent began that was killed goes even when there is nothing to build.
    if (need === null) {
      if (!request.dryRun) await removeUnfinished(ports.files, configuration.layout);
      return `release ${previous?.id} is already right; nothing to do`;
    }

    if (!request.dryRun) {
      const { specDigest, lockDigest } = desired;
      const finished = await findFinished(ports.files, configuration.layout, {
        specDigest,
        lockDigest,
        // What the loop began on an empty machine was asked for by the configuration.
        requestedAt: request.requestedAt ?? (lock === null && previous === null ? 0 : null),
        isNew: request.fresh || request.moves !== null,
      });
      if (finished !== null) return this.#switchTo(finished, handle, need);
    }
    if (request.clean) await ports.files.remove(configuration.layout.cache);
    const started = ports.clock.monotonic();
    const context = installContext(this.#options, handle, {
      desired,
      observed,
      previous,
      request,
      bundle,
      activate: (to) => this.#activate(to),
    });
    // Before it is obeyed: what the list of packs changes, and whose it is.
    const changes = packChanges(previous?.spec.packs ?? [], desired.installation.packs);
    if (changes !== null)
      context.tracker.log(`${configuration.layout.configNodes}, of ${reading.inputs.packsOwner ?? 'nobody'}: ${changes}`);
    if (request.dryRun) return this.#rehearse(context);
    journal.record({
      type: 'install.begin',
      target: 'installation',
      level: 'info',
      message: `building release ${context.releaseId}: ${need}`,
      data: { release: context.releaseId },
    });
    try {
      const release = await installRelease(context);
      if (release === null) return `everything is at its newest already; release ${previous?.id} stays`;
      await this.#rollOut(context, handle);
      knowledge.failedInstallation = null;
      await this.#collect();
      const seconds = ((ports.clock.monotonic() - started) / 1_000).toFixed(1);
      const failed = release.packs.filter((pack) => pack.state === 'failed').map((pack) => pack.name);
      const message = `release ${release.id} is in place after ${seconds} s${failed.length === 0 ? '' : `; failed node packs: ${failed.join(', ')}`}`;
      journal.record({
        type: 'install.done',
        target: 'installation',
        level: failed.length === 0 ? 'info' : 'warn',
        message,
        data: { release: release.id, durations: release.durations },
      });
      return message;
    } catch (thrown) {
      const told = await withInodes(ports.files, context.layout.root, thrown);
      const { code, message, help, retryable } = told;
      const before = knowledge.failedInstallation;
      const attempts = before?.specDigest === context.specDigest ? before.attempts + 1 : 1;
      knowledge.failedInstallation = { specDigest: context.specDigest, at: ports.clock.now(), attempts, code, message, help, retryable };
      journal.record({
        type: 'install.failed',
        target: 'installation',
        level: 'error',
        message: code === 'ROLLOUT_FAILED' ? message : `release ${context.releaseId} was not built: ${message}`,
        data: { code, help, release: context.releaseId },
      });
      // The release that was refused stays for whoever looks into it; the one refused before it has had its time.
      if (code === 'VALIDATION_FAILED' || code === 'ROLLOUT_FAILED') await this.#collect();
      throw told;
    }
  }

  /** What is asked for is on this machine, proved: it only has to be used. */
  async #switchTo({ id }: Release, handle: OperationHandle, need: string): Promise<string> {
    const { journal, rollouts, ports, knowledge } = this.#options;
    await removeUnfinished(ports.files, knowledge.configuration.layout);
    handle.update({ message: `release ${id} is on this machine already` });
    await this.#activate(id);
    journal.record({
      type: 'install.switched',
      target: 'installation',
      level: 'info',
      message: `release ${id}, which is on this machine already, is used: ${need}`,
      data: { release: id },
    });
    await followMove(rollouts, handle.signal, id, (message) => handle.update({ message: `release ${id}: ${message}` }));
    return `release ${id} was on this machine already and is in use`;
  }

  #activate(to: string): Promise<void> {
    return moveTo(this.#options.rollouts, {
      to,
      direction: 'forward',
      reason: `release ${to} was proved`,
      atOnce: false,
      rejected: null,
      pinnedRelease: null,
      absolved: [],
    });
  }

  /** Finds out what an installation would change, and leaves nothing behind but what the caches learnt. */
  async #rehearse(context: InstallContext): Promise<string> {
    const { knowledge } = this.#options;
    const before = knowledge.installProgress;
    try {
      await planRelease(context);
      const changes = context.tracker.progress.difference?.length ?? 0;
      return changes === 0 ? 'nothing would change' : `${changes} change${changes === 1 ? '' : 's'}; nothing was done yet`;
    } finally {
      await discard(context);
      knowledge.installProgress = before;
    }
  }

  /** The release is in use; instances of the one before follow, and may bring it back. */
  async #rollOut({ tracker, releaseId, previous }: InstallContext, handle: OperationHandle): Promise<void> {
    const { rollouts, knowledge } = this.#options;
    if (knowledge.intents.rollout === null && (previous === null || !rollouts.moves)) return tracker.skip('rollout', undefined);
    await tracker.step('rollout', () => followMove(rollouts, handle.signal, releaseId, (message) => tracker.detail(message)));
  }

  /** Old releases go when a new one is in place; that they cannot be removed is told and fails nothing. */
  async #collect(): Promise<void> {
    const { ports, knowledge, journal } = this.#options;
    const { config, layout } = knowledge.configuration;
    const { processes } = knowledge.observed ?? { processes: { known: false } as const };
    // Without a look at the processes any release may be in use.
    if (!processes.known) return;
    const inUse = new Set(processes.value.flatMap((process) => (process.release === null ? [] : [process.release])));
    try {
      const removed = await collectReleases(ports.files, layout, config.releases.keep, inUse);
      if (removed.length > 0) {
        journal.record({
          type: 'releases.collected',
          target: 'installation',
          level: 'info',
          message: `removed old releases: ${removed.join(', ')}`,
          data: { removed },
        });
      }
    } catch (error) {
      const message = `old releases could not be removed: ${asAgentError(error).message}`;
      journal.record({ type: 'releases.collected', target: 'installation', level: 'warn', message, data: {} });
    }
  }
}

/** @throws AgentError USAGE naming the pack that is not there */
function requireKnownPacks(moves: Moves, spec: InstallationSpec): void {
  const names = spec.packs.map((pack) => pack.name);
  for (const name of Object.keys(moves.packs)) {
    if (names.includes(name)) continue;
    const help = names.length === 0 ? 'config_nodes.json asks for no node packs' : `asked for are ${names.join(', ')}`;
    throw new AgentError('USAGE', `there is no node pack ${name} to update`, { help });
  }
}
