import type { Agent, VersionDocument } from '../domain/agent.ts';
import { SIMULATOR_REPOSITORY } from '../domain/configuration/config.ts';
import type { Documents } from '../domain/health/documents.ts';
import { INHERITED_NAMES } from '../plan/instances/launch.ts';
import type { Logger } from '../ports/logs.ts';
import type { Ports } from '../ports.ts';
import { Broadcast } from './broadcast.ts';
import { CardSlots } from './cards/slots.ts';
import type { Execution } from './execute.ts';
import { createFacade, statusOf } from './facade.ts';
import { recallProofs } from './health/proofs.ts';
import { recordTransitions } from './health/transitions.ts';
import { setUpShared } from './inputs/shared-setup.ts';
import { Installer } from './installation/installer.ts';
import { beginInstallation, type InstallationOperations } from './installation/operations.ts';
import type { InstanceOperations } from './instances/operations.ts';
import { Journal } from './journal.ts';
import { emptyKnowledge, type Knowledge, type LoadedConfiguration } from './knowledge.ts';
import { Operations } from './operations.ts';
import { Reconciler } from './reconciler.ts';
import { recallExits } from './records.ts';
import type { RolloutContext } from './releases/rollout.ts';
import { DiscoveryPublisher } from './reports/discovery.ts';
import { LastStatus } from './reports/last-status.ts';
import { noteClockJump } from './state/clock-shift.ts';
import { watchClock } from './state/clock-watch.ts';
import { createStateFiles } from './state/files.ts';
import { StateStore } from './state/store.ts';
import { Surveys } from './surveys.ts';
import { Caretaker } from './upkeep/caretaker.ts';
import { ResourceSurvey } from './upkeep/resource-survey.ts';

export interface CoreOptions {
  readonly ports: Ports;
  readonly log: Logger;
  readonly configuration: LoadedConfiguration;
  readonly version: VersionDocument;
  readonly machineName: string;
  readonly pid: number;
  /** False for verbs that work in process while no agent runs. */
  readonly isDaemon: boolean;
  /** False for verbs that only look. */
  readonly mayWrite: boolean;
  readonly url: () => string | null;
}

/** The engine, put together: used by the daemon, and by verbs that work without one. */
export interface Core {
  readonly agent: Agent;
  readonly knowledge: Knowledge;
  readonly reconciler: Reconciler;
  readonly surveys: Surveys;
  readonly resources: ResourceSurvey;
  readonly caretaker: Caretaker;
  readonly operations: Operations;
  readonly journal: Journal;
  readonly state: StateStore;
  readonly discovery: DiscoveryPublisher;
  readonly documents: () => Documents;
  readonly changes: (signal: AbortSignal) => AsyncIterable<Documents>;
  /** Reads the operator's files again, brings the shared folder up to date, writes what follows from them. */
  readonly refreshInputs: () => Promise<void>;
  /** Called before each installation: an edit of a moment ago is what it is to be made of, noticed by the watch or not. */
  readonly beforeInstallation: (read: () => Promise<void>) => void;
  /** Drains and stops every instance; resolves when none has a process or at the abort. */
  readonly stopInstances: (signal: AbortSignal) => Promise<void>;
  readonly close: () => Promise<void>;
}

export async function createCore(options: CoreOptions): Promise<Core> {
  const { log, configuration } = options;
  const { layout } = configuration;
  let onJump = (_byMs: number): void => undefined;
  const ports: Ports = { ...options.ports, clock: watchClock(options.ports.clock, (byMs) => onJump(byMs)) };
  const journal = new Journal(ports.journal, ports.clock, log);
  const stateFiles = createStateFiles(ports.files, layout, (path) =>
    journal.record({
      type: 'state.damaged',
      target: 'agent',
      level: 'error',
      message: `${path} could not be read; it was set aside as ${path}.damaged`,
      data: { path },
    }),
  );
  const knowledge = emptyKnowledge(configuration, {
    intents: await stateFiles.intents(),
    leases: await stateFiles.leases(),
    roster: await stateFiles.roster(),
  });
  const state = new StateStore(stateFiles, knowledge, journal);
  if (options.isDaemon) {
    recallExits(journal, knowledge, ports.clock.now());
    recallProofs(journal, knowledge);
  }
  const changes = new Broadcast<Documents>(1, 'miss');
  const discovery = new DiscoveryPublisher(ports.files, layout, log);
  // Instance operations follow the documents; were they to make new ones, they would follow themselves.
  const operations = new Operations(ports.clock, (operation) => {
    if (operation.target === 'installation') reconciler.refresh();
  });
  const resources = new ResourceSurvey(ports, knowledge, () => void reconciler.trigger());
  const caretaker = new Caretaker({ ports, knowledge, journal, operations });
  const slots = new CardSlots({ knowledge, files: stateFiles, state, journal, keeps: options.isDaemon });
  const surveys = new Surveys(ports, knowledge, slots, () => void reconciler.trigger());
  const inherited = () => inheritedEnvironment(knowledge.configuration);
  // One after the other: an edit and an installation may ask for it at the same time.
  let refreshing: Promise<void> = Promise.resolve();
  const refreshInputs = () => {
    const turn = refreshing.then(() => setUpShared(ports, knowledge, journal, options.mayWrite));
    refreshing = turn.catch(() => undefined);
    return turn;
  };
  const rollouts: RolloutContext = {
    ports,
    knowledge,
    state,
    journal,
    documents: () => reconciler.documents,
    changes: (signal) => present(reconciler, changes, signal),
    moves: options.isDaemon,
  };
  let readConfiguration = async (): Promise<void> => undefined;
  const installer = new Installer({
    ports,
    knowledge,
    journal,
    rollouts,
    inherited,
    refresh: async () => {
      await readConfiguration();
      await Promise.all([refreshInputs(), surveys.gpus()]);
    },
  });
  const installations: InstallationOperations = {
    knowledge,
    state,
    rollouts,
    operations,
    installer,
    now: () => ports.clock.now(),
    trigger: () => reconciler.trigger(),
  };
  const execution: Execution = {
    ports,
    knowledge,
    state,
    rollouts,
    install: async (reason) => {
      const operation = beginInstallation(installations, reason);
      for await (const { state, message } of operations.follow(operation.id, new AbortController().signal)) {
        // Told by the operation itself; here it only keeps the loop from trying again at once.
        if (state === 'failed') throw new Error(message);
      }
    },
  };
  const startedAt = ports.clock.now();
  const process = { pid: options.pid, startedAt, running: options.isDaemon, url: options.url };
  onJump = (byMs) => {
    process.startedAt += byMs;
    reconciler.clockJumped(byMs);
    noteClockJump({ knowledge, state, journal }, byMs, options.ports.clock.now());
  };
  const lastStatus = new LastStatus(ports, layout, log);
  const reconciler: Reconciler = new Reconciler({
    ports,
    knowledge,
    journal,
    execution,
    machineName: options.machineName,
    inherited: inherited(),
    canary: JSON.parse(await ports.assets.text('workflows/canary.json')) as object,
    busyOperations: () => (operations.running('installation') === null ? [] : ['installation']),
    onDocuments: (documents, before) => {
      changes.publish(documents);
      if (!options.isDaemon || before === null) return;
      recordTransitions(journal, documents, before);
      discovery.publish(documents.discovery);
      lastStatus.save(stateKey(documents), () =>
        statusOf({ ports, knowledge, reconciler, operations, journal, version: options.version, process }),
      );
    },
  });
  const instanceOperations: InstanceOperations = {
    execution,
    journal,
    operations,
    now: () => ports.clock.now(),
    trigger: () => reconciler.trigger(),
    documents: () => reconciler.documents,
    changes: rollouts.changes,
  };
  const agent = createFacade({
    ports,
    knowledge,
    reconciler,
    operations,
    installations,
    journal,
    discovery,
    instanceOperations,
    caretaker,
    slots,
    version: options.version,
    process,
  });
  return {
    agent,
    knowledge,
    reconciler,
    surveys,
    resources,
    caretaker,
    operations,
    journal,
    state,
    discovery,
    documents: () => reconciler.documents,
    changes: instanceOperations.changes,
    refreshInputs,
    beforeInstallation: (read) => {
      readConfiguration = read;
    },
    stopInstances: async (signal) => {
      knowledge.stopping = true;
      await reconciler.trigger();
      for await (const documents of instanceOperations.changes(signal)) {
        if (documents.instances.instances.every((instance) => instance.pid === null)) return;
      }
    },
    close: async () => {
      await caretaker.stop();
      await operations.stop();
      await Promise.all([surveys.stop(), resources.stop()]);
      await reconciler.stop();
      await state.settled();
      changes.close();
      await discovery.close();
      await lastStatus.close();
      journal.close();
    },
  };
}

/** What makes a state another one for people. */
const stateKey = ({ health, installation }: Documents): string =>
  JSON.stringify([
    health.status,
    health.instances.map(({ gpu, status, ready, pid, port, restarts }) => [gpu, status, ready, pid, port, restarts.total]),
    health.holds.map(({ target, code }) => [target, code]),
    installation.status,
    installation.step,
    installation.release?.id,
    health.configuration.problem,
  ]);

async function* present(reconciler: Reconciler, changes: Broadcast<Documents>, signal: AbortSignal): AsyncIterable<Documents> {
  const live = changes.subscribe(signal);
  try {
    yield reconciler.documents;
    // Only the newest state matters to whoever waits for one.
    for await (const _ of live) yield reconciler.documents;
  } finally {
    live.leave();
  }
}

/** What an instance may have of the agent's environment: never its secrets. The simulator's switches pass for tests and rehearsals. */
function inheritedEnvironment({ config, secrets }: LoadedConfiguration): Readonly<Record<string, string>> {
  const isSimulator = config.comfyui.repository === SIMULATOR_REPOSITORY;
  const names = Object.keys(secrets.environment).filter(
    (name) => (INHERITED_NAMES as readonly string[]).includes(name) || (isSimulator && name.startsWith('SIM_')),
  );
  return Object.fromEntries(names.map((name) => [name, secrets.environment[name] ?? '']));
}
