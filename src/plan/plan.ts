import type { Action } from '../domain/action.ts';
import type { Config } from '../domain/configuration/config.ts';
import type { AgentError } from '../domain/errors/errors.ts';
import type { Verdict } from '../domain/faults/verdict.ts';
import { instanceTarget } from '../domain/identity.ts';
import type { DesiredInstance, InstanceLaunch, PortHolder, ProcessState, QueueReading } from '../domain/instances/instance.ts';
import { known, NOT_LOOKED_YET, type Observed, unknown } from '../domain/observed.ts';
import type { DesiredState, Intents, ObservedState, Unsaved } from '../domain/state/state.ts';
import { foreignHolds, foreignProcesses } from './cards/guard.ts';
import { missingHold } from './cards/missing.ts';
import { hold, type NewHold } from './hold.ts';
import { type FailedInstallation, type InstallationInput, planInstallation } from './installation/installation.ts';
import { type DriverGone, driverHold, heldRemedies, trialHold } from './instances/driver-hold.ts';
import { planInstance } from './instances/instance.ts';
import { launchDigest } from './instances/launch.ts';
import { planLeases } from './instances/leases.ts';
import { idleness, type Leaving, leavings } from './instances/leaving.ts';
import { planLeftover } from './instances/leftovers.ts';
import { pm2Holds } from './instances/pm2-holds.ts';
import { type Exit, judgeRestarts, restartPolicy } from './instances/restart-policy.ts';
import { planUnwanted, type Unwanted } from './instances/unwanted.ts';
import type { RolloutStep } from './releases/rollout.ts';

export interface PlanInput {
  readonly config: Config;
  readonly desired: DesiredState;
  readonly observed: ObservedState;
  readonly intents: Intents;
  /** What each instance should run, by GPU; absent while there is no release or no port. */
  readonly launches: ReadonlyMap<number, InstanceLaunch>;
  /** Why an instance that runs something else could not be started with that, by GPU; absent: nobody says that it could not. */
  readonly launchProblems?: ReadonlyMap<number, Pick<AgentError, 'code' | 'message' | 'help'>>;
  /** What is known of each instance, by GPU. */
  readonly health: ReadonlyMap<
    number,
    {
      /** It is on its way up. */
      readonly starting: boolean;
      /** Jobs of its process as last probed; null: they were not asked for. */
      readonly queue: QueueReading | null;
      /** Since when it is told to take no work; null: it is not. Epoch ms. */
      readonly leavingSince: number | null;
      readonly hasServed?: boolean;
      /** What runtime and functional layer say together. */
      readonly proof?: { readonly passed: boolean; readonly failure: string | null };
    }
  >;
  /** Faults as judged now, by GPU, the worst first. */
  readonly verdicts: ReadonlyMap<number, readonly Verdict[]>;
  /** Processes that no instance asks for, by name. */
  readonly unwanted: ReadonlyMap<string, Unwanted>;
  /** `since` of the verdict whose memory was freed last, by GPU. */
  readonly freedFor: ReadonlyMap<number, string>;
  readonly exits: ReadonlyMap<string, readonly Exit[]>;
  /** null: it answers, or there is none. */
  readonly driverGone?: DriverGone | null;
  readonly failedInstallation: FailedInstallation | null;
  readonly packList: InstallationInput['packList'];
  readonly inputProblem: InstallationInput['inputProblem'];
  /** The first fault of the operator's other files; what they said before is in force. */
  readonly fileProblem: InstallationInput['inputProblem'];
  /** A configuration edit that was refused; the last good configuration is in force. */
  readonly configurationProblem: string | null;
  /** Instances being moved to another release; null: none are, or it cannot be seen how far. */
  readonly rollout: RolloutStep | null;
  /** What was done and could not be written down; null: all of it is. */
  readonly unsaved: Unsaved | null;
  readonly now: number;
}

export interface Planned {
  readonly actions: readonly Action[];
  readonly holds: readonly NewHold[];
  /** Instances that are about to leave, by GPU: from now on they take no work. */
  readonly leaving: ReadonlyMap<number, Leaving>;
  /** Who sits on the port of an instance, by GPU. */
  readonly strangers: ReadonlyMap<number, PortHolder>;
}

/** Actions and holds of one part of the plan. */
interface Steps {
  readonly actions: readonly Action[];
  readonly holds: readonly NewHold[];
}

/**
 * The one decision of the program: what to do now, and what is not done and why. Only next steps; when the answer is
 * empty the machine is as it should be. The order below is the order in which things depend on each other.
 */
export function plan(input: PlanInput): Planned {
  const { config, desired, observed, driverGone = null } = input;
  const actions: Action[] = [];
  const holds: NewHold[] = [];

  if (input.configurationProblem !== null) {
    holds.push(
      hold('configuration', 'CONFIG_INVALID', input.configurationProblem, 'correct the file; the last good configuration stays in force'),
    );
  }
  if (input.fileProblem !== null) {
    const { code, message, help } = input.fileProblem;
    holds.push(hold('configuration', code, message, help));
  }
  if (input.unsaved !== null) {
    const { what, reason } = input.unsaved;
    holds.push(hold('agent', 'NOT_REMEMBERED', `done, but not remembered: ${what.join(', ')}; ${reason}`, NOT_REMEMBERED_HELP));
  }
  if (desired.enabled) {
    const installation = planInstallation(input);
    actions.push(...installation.actions);
    holds.push(...installation.holds, ...gpuHolds(config, desired, observed.gpus));
  }

  actions.push(...rolloutActions(input));
  const running = new Set(desired.instances.filter((instance) => hasProcess(observed, instance.name)).map((instance) => instance.gpu));
  const leases = planLeases({
    setting: config.ports,
    instances: desired.instances,
    leases: observed.leases,
    holders: observed.portHolders,
    ownPids: observed.ownPids,
    running,
    acting: new Set(desired.instances.filter(({ gpu }) => observed.busy.has(instanceTarget(gpu))).map(({ gpu }) => gpu)),
  });
  actions.push(...leases.actions);

  const leaving = planLeavings(input);
  const leftovers = planLeftovers(input, leaving);
  actions.push(...leftovers.actions);
  holds.push(...leftovers.holds, ...pm2Holds(observed.pm2, config.pm2));
  const foreign = foreignHolds(config.gpu, desired.instances, foreignProcesses(config.gpu, observed.gpus, observed.ownPids));
  const leasing = new Set(leases.actions.map((action) => ('gpu' in action ? action.gpu : -1)));
  for (const instance of desired.instances) {
    const target = instanceTarget(instance.gpu);
    if (observed.busy.has(target) || leasing.has(instance.gpu)) continue;
    const process = processOf(observed, instance.name);
    const held = driverHold(driverGone, instance, process.known ? process.value : null, {
      exits: input.exits.get(instance.name) ?? [],
      works: input.health.get(instance.gpu)?.proof?.passed ?? false,
    });
    if (held !== null) {
      holds.push(held.hold);
      if (held.stop)
        actions.push({ kind: 'stop-instance', gpu: instance.gpu, name: instance.name, reason: held.hold.reason, fault: 'driver-gone' });
      continue;
    }
    // Nothing is started beside what is left of it.
    if (observed.processes.known && observed.leftovers.has(instance.gpu)) continue;
    const launch = input.launches.get(instance.gpu);
    const blocked =
      trialHold(driverGone, instance) ??
      missingHold(desired.missing, instance) ??
      foreign.find((candidate) => candidate.target === target) ??
      leases.holds.find((candidate) => candidate.target === target) ??
      null;
    const step = planInstance({
      instance,
      process,
      incarnation: observed.incarnations.get(instance.name) ?? known(null),
      launchDigest: launch === undefined ? null : launchDigest(launch),
      missing: missingReason(observed, blocked),
      leaving: leaving.get(instance.gpu) ?? null,
      verdicts: heldRemedies(driverGone, instance, input.verdicts.get(instance.gpu) ?? []),
      freedFor: input.freedFor.get(instance.gpu) ?? null,
      restarts: judgeRestarts(input.exits.get(instance.name) ?? [], restartPolicy(config), input.now),
      move: moveOf(input, instance),
      launchProblem: input.launchProblems?.get(instance.gpu) ?? null,
      blocked,
      proof: input.health.get(instance.gpu)?.proof ?? { passed: false, failure: null },
      quarantine: config.health.quarantine,
      now: input.now,
    });
    if (step.action !== null) actions.push(step.action);
    if (step.hold !== null) holds.push(step.hold);
    else if (blocked !== null && !running.has(instance.gpu) && instance.desired === 'running') holds.push(blocked);
  }
  const unwanted = planUnwanted(input, input.unwanted);
  return { actions: [...actions, ...unwanted.actions], holds: [...holds, ...unwanted.holds], leaving, strangers: leases.strangers };
}

const NOT_REMEMBERED_HELP =
  'free space, or let the agent write there: it is tried again by itself; an agent that starts before that forgets it';

/** Who is about to leave: told to everybody before it is acted on. */
function planLeavings(input: PlanInput): ReadonlyMap<number, Leaving> {
  const { config, desired, observed, launches, health, now } = input;
  const away = new Set(desired.instances.filter((instance) => isAway(input, instance)).map((instance) => instance.gpu));
  const facts = desired.instances.map((instance) => {
    const { gpu, name } = instance;
    const launch = launches.get(gpu);
    return {
      instance,
      process: processOf(observed, name),
      incarnation: observed.incarnations.get(name) ?? known(null),
      launchDigest: launch === undefined ? null : launchDigest(launch),
      verdicts: heldRemedies(input.driverGone ?? null, instance, input.verdicts.get(gpu) ?? []),
      canStart: !(input.launchProblems?.has(gpu) ?? false),
      move: moveOf(input, instance),
      unhosted: observed.processes.known && (observed.leftovers.get(gpu)?.serving ?? null) !== null,
      since: health.get(gpu)?.leavingSince ?? null,
      queue: health.get(gpu)?.queue ?? null,
      // What was not looked at may have.
      hasServed: health.get(gpu)?.hasServed ?? true,
      drainTimeoutMs: config.health.drainTimeoutMs,
      now,
    };
  });
  return leavings(facts, away);
}

const processOf = (observed: ObservedState, name: string): Observed<ProcessState | null> =>
  observed.processes.known
    ? known(observed.processes.value.find((process) => process.name === name) ?? null)
    : unknown(observed.processes.reason);

/** Of each GPU, wanted or not. With PM2 out of reach nobody knows what it hosts. */
function planLeftovers({ config, observed, desired, now, health }: PlanInput, leaving: ReadonlyMap<number, Leaving>): Steps {
  const steps = [...(observed.processes.known ? observed.leftovers : [])]
    .filter(([gpu]) => !observed.busy.has(instanceTarget(gpu)))
    .map(([gpu, leftover]) => {
      const instance = desired.instances.find((candidate) => candidate.gpu === gpu);
      const atOnce = instance !== undefined && instance.restartRequestedAt !== null && !instance.drainBeforeRestart;
      // Of one that no instance stands for nobody is told.
      const since = instance === undefined ? leftover.since : leaving.has(gpu) ? (health.get(gpu)?.leavingSince ?? null) : null;
      const isIdle = idleness({ askedAt: observed.at, jobs: leftover.jobs }, since) === 'yes';
      return planLeftover(leftover, gpu, config, now, { isIdle, atOnce });
    });
  return { actions: steps.flatMap((step) => step.actions), holds: steps.flatMap((step) => step.holds) };
}

/** `current` first, then the instances, then the end of it. */
function rolloutActions({ intents, observed, rollout }: PlanInput): Action[] {
  if (intents.rollout === null || rollout === null || observed.busy.has('rollout')) return [];
  const { to: release, reason } = intents.rollout;
  if (rollout.verdict === 'switch') return [{ kind: 'switch-release', release, reason }];
  if (rollout.verdict === 'done') return [{ kind: 'end-rollout', release, reason: rollout.message, trouble: rollout.reason }];
  return rollout.verdict === 'failed' ? [{ kind: 'take-back-release', release, reason: rollout.reason ?? rollout.message }] : [];
}

/** While a rollout is on, only it decides when an instance leaves its release. */
function moveOf({ intents, observed, rollout }: PlanInput, instance: DesiredInstance): 'wait' | 'turn' | null {
  if (intents.rollout === null) return null;
  const process = observed.processes.known ? observed.processes.value.find(({ name }) => name === instance.name) : undefined;
  const isSwitched = observed.release.known && observed.release.value?.id === intents.rollout.to;
  // Until then launches are made for the release that is left: whoever is on the other one already differs by that alone.
  if (process?.release === intents.rollout.to) return isSwitched ? null : 'wait';
  return rollout?.next.includes(instance.gpu) === true ? 'turn' : 'wait';
}

const hasProcess = (observed: ObservedState, name: string): boolean =>
  observed.processes.known && observed.processes.value.some((process) => process.name === name && process.pid !== null);

/** On its way up: a change must not take a second instance away meanwhile. */
function isAway(input: PlanInput, instance: DesiredInstance): boolean {
  if (instance.desired === 'stopped' || instance.quarantined !== null || instance.draining) return false;
  return (
    input.observed.busy.has(instanceTarget(instance.gpu)) ||
    (hasProcess(input.observed, instance.name) && input.health.get(instance.gpu)?.starting === true)
  );
}

function missingReason(observed: ObservedState, blocked: NewHold | null): string | null {
  if (blocked !== null) return null;
  if (!observed.release.known || observed.release.value === null || observed.releaseProblem !== null) return 'waits for the installation';
  return 'waits for a port';
}

const driverHelp = (help = 'run nvidia-smi by hand and check the driver'): string => `${help}; running instances are left alone`;

function gpuHolds(config: Config, desired: DesiredState, gpus: ObservedState['gpus']): NewHold[] {
  if (config.gpu.mode !== 'actual') return [];
  if (!gpus.known && gpus.reason === NOT_LOOKED_YET) return [];
  if (!gpus.known) return [hold('machine', 'GPU_QUERY_FAILED', gpus.reason, driverHelp(gpus.help))];
  if (desired.instances.length > 0) {
    // Cards that were there: the driver is gone, and no instance is to blame or to be restarted for it.
    const trouble = gpus.value.gpus.length > 0 ? null : 'the driver lists no card any more';
    return trouble === null ? [] : [hold('machine', 'GPU_QUERY_FAILED', trouble, driverHelp())];
  }
  const [left] = desired.unused;
  if (left !== undefined)
    return [
      hold('machine', 'NO_GPU', `no card may be used: ${left.reason}`, 'name the cards that the agent may use: `agent gpus` lists them'),
    ];
  const reason = gpus.value.present ? 'the driver lists no GPU' : 'this machine has no NVIDIA driver';
  return [hold('machine', 'NO_GPU', reason, 'install the driver, or run on the CPU with COMFYUI_CPU_ONLY=1 (gpu.mode: cpu)')];
}
