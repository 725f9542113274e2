import type { Action, ActionKind } from '../domain/action.ts';
import { AgentError } from '../domain/errors/errors.ts';
import { probeHost } from '../domain/instances/instance.ts';
import { toTime } from '../domain/observed.ts';
import type { InstanceIntent } from '../domain/state/state.ts';
import { intentOf, withInstance } from '../plan/instances/intents.ts';
import { instanceDirectories } from '../plan/instances/launch.ts';
import { nextQuarantine } from '../plan/instances/quarantine.ts';
import type { Ports } from '../ports.ts';
import { checkedEntry } from './instances/entries.ts';
import { endLeftovers, jobsOf } from './instances/leftovers.ts';
import type { Knowledge } from './knowledge.ts';
import { forgiveExits } from './records.ts';
import { endRollout, type RolloutContext, resumeSwitch, takeBack } from './releases/rollout.ts';
import type { StateStore } from './state/store.ts';

const FREE_TIMEOUT_MS = 5_000;

/** What actions may use. */
export interface Execution {
  readonly ports: Ports;
  readonly knowledge: Knowledge;
  readonly state: StateStore;
  /** Starts the installation operation and waits for its end. */
  readonly install: (reason: string) => Promise<void>;
  readonly rollouts: RolloutContext;
}

/** One action under way. */
interface ActionExecution extends Execution {
  /** From now on the instance leaves: to be called just before its process is ended. */
  readonly onEnding: () => void;
}

type Handlers = { readonly [Kind in ActionKind]: (action: Extract<Action, { kind: Kind }>, execution: ActionExecution) => Promise<void> };

/** One row for each kind of action; every row can be cut anywhere and repeated. */
const handlers: Handlers = {
  install: ({ reason }, { install }) => install(reason),
  'switch-release': (_, { rollouts }) => resumeSwitch(rollouts),
  'end-rollout': ({ reason, trouble }, { rollouts }) => endRollout(rollouts, reason, trouble),
  'take-back-release': ({ reason }, { rollouts }) => takeBack(rollouts, reason),
  'lease-port': async ({ gpu, tcpPort }, { knowledge, state, ports }) => {
    const { first } = knowledge.configuration.config.ports;
    const lease = { gpu, tcpPort, first, since: toTime(ports.clock.now()) };
    // A disk that is full keeps no instance down.
    await state.noteLeases(`the port of instance ${gpu}`, (leases) =>
      [...leases.filter((other) => other.gpu !== gpu && other.tcpPort !== tcpPort), lease].sort((a, b) => a.gpu - b.gpu),
    );
  },
  'start-instance': ({ gpu, name }, execution) => startInstance(execution, gpu, name),
  'restart-instance': async ({ gpu, name }, execution) => {
    const { knowledge, state } = execution;
    const carriedOut = intentOf(knowledge.intents, gpu).restartRequestedAt;
    await startInstance(execution, gpu, name);
    await state.note(`the restart of instance ${gpu}`, (intents) => {
      const { restartRequestedAt } = intentOf(intents, gpu);
      // A restart that was asked for meanwhile is still to be done.
      if (restartRequestedAt === null || restartRequestedAt !== carriedOut) return intents;
      return withInstance(intents, gpu, { restartRequestedAt: null, drainBeforeRestart: false });
    });
  },
  'free-memory': async ({ gpu, since }, { ports, knowledge }) => {
    const lease = knowledge.leases.find((candidate) => candidate.gpu === gpu);
    if (lease === undefined) throw new AgentError('HELD', `GPU ${gpu} has no port`);
    const { listen } = knowledge.configuration.config.comfyui;
    await ports.comfy.free(`http://${probeHost(listen)}:${lease.tcpPort}`, FREE_TIMEOUT_MS);
    knowledge.instances.of(gpu).freed = { verdictSince: since, at: ports.clock.now() };
  },
  'stop-instance': ({ name }, { ports, onEnding }) => {
    onEnding();
    return ports.processes.stop(name);
  },
  'end-leftovers': async ({ gpu, name }, execution) => {
    const { knowledge, ports } = execution;
    const { leftover } = knowledge.instances.of(gpu);
    // Told to be busy no more a moment ago: by now nobody gives it new work, so this answer stands.
    const jobs = leftover?.jobs === 0 ? await jobsOf(ports, knowledge, gpu) : 0;
    if (jobs === 0 || jobs === null) await endLeft(execution, gpu, name);
  },
  'remove-process': ({ name }, { ports }) => ports.processes.remove(name),
  'trial-start': async ({ gpu, name }, execution) => {
    const { knowledge, ports, rollouts } = execution;
    forgiveExits(rollouts.journal, knowledge, gpu, 'trial start');
    await noteQuarantine(execution, 'the trial start', gpu, { trialAt: ports.clock.now() });
    await startInstance(execution, gpu, name);
  },
  'release-instance': async ({ gpu }, execution) => {
    const releasedAt = execution.ports.clock.now();
    await noteQuarantine(execution, 'the release', gpu, { trialAt: null, releasedAt }, { quarantined: null });
  },
  'quarantine-instance': async ({ gpu, name, reason, fault }, { knowledge, state, ports, onEnding }) => {
    onEnding();
    const settings = knowledge.configuration.config.health.quarantine;
    const now = ports.clock.now();
    await state.note(`the quarantine of instance ${gpu}`, (intents) => {
      const { quarantine } = intentOf(intents, gpu);
      return withInstance(intents, gpu, { quarantined: reason, quarantine: nextQuarantine(quarantine, fault, settings, now) });
    });
    await ports.processes.stop(name);
  },
};

export function execute(action: Action, execution: ActionExecution): Promise<void> {
  // The table is exhaustive by type; the cast only rejoins the kind with its own handler.
  const handler = handlers[action.kind] as (action: Action, execution: ActionExecution) => Promise<void>;
  return handler(action, execution);
}

async function startInstance(execution: ActionExecution, gpu: number, name: string): Promise<void> {
  const { ports, knowledge } = execution;
  const launch = knowledge.launches.get(gpu);
  if (launch === undefined) throw new AgentError('HELD', `${name} has no release or no port yet`);
  const { layout, config } = knowledge.configuration;
  const directories = instanceDirectories(layout, gpu);
  await Promise.all(
    [directories.temp, directories.user, directories.output, layout.inputs, layout.logs].map((path) => ports.files.ensureDirectory(path)),
  );
  // Its user may write into its log, and not put another file there.
  if (config.users.comfyui !== null && !(await ports.files.exists(launch.logFile))) await ports.files.writeText(launch.logFile, '', 0o664);
  await ports.files.link(directories.base, `${layout.root}/comfyui_gpu${gpu}`);
  // An entry that cannot be started must not cost the process that is there.
  const entry = await checkedEntry(ports, knowledge.configuration, launch);
  execution.onEnding();
  await endLeft(execution, gpu, name);
  await ports.processes.start(entry);
}

/** Ends what runs as this instance and is not hosted, with port and card free afterwards. */
async function endLeft({ ports, knowledge }: Execution, gpu: number, name: string): Promise<void> {
  const { config, layout } = knowledge.configuration;
  await endLeftovers(ports, {
    root: layout.root,
    name,
    hosted: await ports.processes.list(),
    tcpPort: knowledge.leases.find((lease) => lease.gpu === gpu)?.tcpPort ?? null,
    killTimeoutMs: config.pm2.killTimeoutMs,
    usesCard: config.gpu.mode === 'actual',
  });
}

/** A step on the way out of a quarantine; one that ended meanwhile stays ended. */
function noteQuarantine(
  { state }: Execution,
  step: string,
  gpu: number,
  change: Partial<NonNullable<InstanceIntent['quarantine']>>,
  beside: Partial<InstanceIntent> = {},
): Promise<string | null> {
  return state.note(`${step} of instance ${gpu}`, (intents) => {
    const { quarantine } = intentOf(intents, gpu);
    const next = quarantine === null ? {} : { quarantine: { ...quarantine, ...change } };
    return withInstance(intents, gpu, { ...next, ...beside });
  });
}
