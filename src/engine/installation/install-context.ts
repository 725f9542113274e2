import type { Lock, Moves } from '../../domain/installation/lock.ts';
import type { InstallProgress, InstallStep, Release } from '../../domain/installation/release.ts';
import type { DesiredState, ObservedState } from '../../domain/state/state.ts';
import { usableCards } from '../../plan/cards/usable.ts';
import { NO_MOVES, pinsOf } from '../../plan/installation/lock.ts';
import type { LocalWheels } from '../../ports/python.ts';
import type { Ports } from '../../ports.ts';
import type { Journal } from '../journal.ts';
import type { Knowledge } from '../knowledge.ts';
import type { OperationHandle } from '../operations.ts';
import { releaseDirectory } from '../releases/releases.ts';
import type { RolloutContext } from '../releases/rollout.ts';
import type { InstallContext } from './context.ts';
import { newReleaseId } from './install.ts';
import { InstallTracker, stepResult } from './progress.ts';

export interface InstallerOptions {
  readonly ports: Ports;
  readonly knowledge: Knowledge;
  readonly journal: Journal;
  readonly rollouts: RolloutContext;
  readonly inherited: () => Readonly<Record<string, string>>;
  /** Reads cards, shared folder and input files again. */
  readonly refresh: () => Promise<void>;
}

export interface InstallRequest {
  /** A new release whatever is in place. */
  readonly fresh: boolean;
  /** Drop caches first. */
  readonly clean: boolean;
  /** Pins to let go; null: the lock is obeyed. */
  readonly moves: Moves | null;
  /** Refuse what the lock does not say. */
  readonly locked: boolean;
  /** Only find out what would change. */
  readonly dryRun: boolean;
  /** An offline bundle as the only source; null: the network. */
  readonly bundle: string | null;
  /** When an operator asked. Epoch ms; null: the loop does, or nothing is to be done. */
  readonly requestedAt: number | null;
}

/** A bundle that is taken in: its lock decides, its wheels are the only packages. */
export interface TakenBundle {
  readonly lock: Lock;
  readonly wheels: LocalWheels;
}

interface Circumstances {
  readonly desired: DesiredState;
  readonly observed: ObservedState;
  readonly previous: Release | null;
  readonly request: InstallRequest;
  readonly bundle: TakenBundle | null;
  /** Makes a release current and has the instances follow. */
  readonly activate: (release: string) => Promise<void>;
}

/** Everything that one installation is to know, and the tracker by which everybody else sees it. */
export function installContext(
  options: InstallerOptions,
  handle: OperationHandle,
  { desired, observed, previous, request, bundle, activate }: Circumstances,
): InstallContext {
  const { ports, knowledge, inherited, journal } = options;
  const { config, layout, secrets } = knowledge.configuration;
  const moves = request.moves ?? NO_MOVES;
  const releaseId = newReleaseId(ports.clock.now(), desired.specDigest);
  const logFile = `${layout.logs}/install-${releaseId}.log`;
  let writing = Promise.resolve();
  const tracker = new InstallTracker({
    clock: ports.clock,
    releaseId,
    logFile,
    packs: desired.installation.packs,
    writeLog: (line) => {
      // The log is for reading later; a disk that is full must not fail the installation twice.
      writing = writing.then(() => ports.files.appendLine(logFile, line)).catch(() => undefined);
    },
    onChange: (progress) => {
      const ended = endedSteps(knowledge.installProgress, progress);
      const stepChanged = knowledge.installProgress?.step !== progress.step || knowledge.installProgress?.releaseId !== progress.releaseId;
      knowledge.installProgress = progress;
      handle.update({
        install: progress,
        progress: progress.progress,
        message: `${progress.step}${progress.activity === null ? '' : `: ${progress.activity}`}`,
      });
      for (const step of ended)
        journal.record({
          type: 'install.step-done',
          target: 'installation',
          level: 'info',
          message: stepResult(step),
          data: { step: step.name, state: step.state, durationMs: step.durationMs, bytes: step.bytes, cache: step.cache },
        });
      if (stepChanged)
        journal.record({
          type: 'install.step',
          target: 'installation',
          level: 'info',
          message: `step ${progress.step}`,
          data: { step: progress.step, progress: progress.progress },
        });
    },
  });
  return {
    ports,
    config,
    layout,
    secrets,
    spec: desired.installation,
    specDigest: desired.specDigest,
    packEnvironments: new Map(knowledge.inputs.packs.map((pack) => [pack.name, pack.env])),
    releaseId,
    directory: releaseDirectory(layout, releaseId),
    previous,
    lock: knowledge.inputs.lock,
    pins: pinsOf(bundle?.lock ?? knowledge.inputs.lock, desired.installation, moves),
    moves,
    wheels: bundle?.wheels ?? null,
    locked: request.locked || bundle !== null,
    requiredModels: knowledge.inputs.models,
    gpus: cardsToUse(knowledge),
    trialDevice: idleCard(desired, observed),
    modelPathsFile: knowledge.modelPathsFile,
    inherited: inherited(),
    tracker,
    signal: handle.signal,
    activate,
  };
}

/** Also as an earlier agent left them: a driver that is silent just now must not make a release for the CPU. */
function cardsToUse({ cards, configuration }: Knowledge): InstallContext['gpus'] {
  if (!cards.known) return null;
  const there = cards.value.gpus.filter(({ state }) => state !== 'missing');
  return { ...cards.value, gpus: usableCards(configuration.config.gpu, there).cards };
}

/** A card whose instance does not run, so that the trial start disturbs nobody. */
function idleCard(desired: DesiredState, observed: ObservedState): string | null {
  // What cannot be seen may run.
  if (!observed.processes.known) return null;
  const isIdle = (name: string): boolean => {
    const seen = observed.incarnations.get(name);
    return seen === undefined || (seen.known && seen.value === null);
  };
  const isMissing = (uuid: string | null): boolean => desired.missing.some((card) => card.uuid === uuid);
  const idle = desired.instances.find(({ mode, name, uuid }) => mode === 'gpu' && isIdle(name) && !isMissing(uuid));
  return idle?.visibleDevices ?? null;
}

/** Steps that came to their end since the look before. */
function endedSteps(before: InstallProgress | null, now: InstallProgress): readonly InstallStep[] {
  const isEnded = ({ state }: InstallStep): boolean => state === 'done' || state === 'failed';
  const earlier = before?.releaseId === now.releaseId ? before.steps.filter(isEnded).map(({ name }) => name) : [];
  return now.steps.filter((step) => isEnded(step) && !earlier.includes(step.name));
}
