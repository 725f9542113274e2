import { type Action, actionTarget } from '../domain/action.ts';
import { asAgentError } from '../domain/errors/errors.ts';
import type { Documents } from '../domain/health/documents.ts';
import type { ProbeResult } from '../domain/health/health.ts';
import { instanceName, type Target } from '../domain/identity.ts';
import { incarnationKey, type ProcessEvent } from '../domain/instances/instance.ts';
import { known, toTime } from '../domain/observed.ts';
import type { ObservedState } from '../domain/state/state.ts';
import { recordResult } from '../plan/health/assess.ts';
import { datedHolds } from '../plan/hold.ts';
import { datedStrangers } from '../plan/instances/leases.ts';
import { isToBeReplaced } from '../plan/instances/pm2-holds.ts';
import { findUnwanted } from '../plan/instances/unwanted.ts';
import { type Planned, plan } from '../plan/plan.ts';
import type { Ports } from '../ports.ts';
import type { ProbeTarget } from '../probes/probe.ts';
import { ProbeScheduler } from '../probes/scheduler.ts';
import { type Execution, execute } from './execute.ts';
import { buildDocuments } from './health/documents.ts';
import { judgeInstances } from './health/judged.ts';
import { recordProof } from './health/proofs.ts';
import { launchProblems } from './instances/entries.ts';
import { gatherExit, watchMemory } from './instances/exit-evidence.ts';
import { launchesOf } from './instances/launches.ts';
import { LeavingQueues } from './instances/leaving-queues.ts';
import { probeTargets } from './instances/probe-targets.ts';
import { watchStartingLogs } from './instances/starting-logs.ts';
import type { Journal } from './journal.ts';
import type { Knowledge } from './knowledge.ts';
import { Lanes } from './lanes.ts';
import { observe } from './observe.ts';
import { planInput } from './plan-input.ts';
import { desiredBy, isOutdated, takeReading } from './reading.ts';
import { recordExit, recordHolds, recordProcessEvent, recordRemedy } from './records.ts';
import { viewRollout } from './releases/view.ts';
import { SingleFlight } from './single-flight.ts';

/** The loop looks again at least this often, whatever was or was not told to it. */
const PERIOD_MS = 2_000;

const ENDING: ReadonlySet<Action['kind']> = new Set(['stop-instance', 'restart-instance', 'quarantine-instance']);

export interface ReconcilerOptions {
  readonly ports: Ports;
  readonly knowledge: Knowledge;
  readonly journal: Journal;
  readonly execution: Execution;
  readonly machineName: string;
  readonly inherited: Readonly<Record<string, string>>;
  readonly canary: object;
  /** Targets of operations in flight. */
  readonly busyOperations: () => readonly Target[];
  readonly onDocuments: (documents: Documents, before: Documents | null) => void;
}

/**
 * Desired state, observation, plan, action, again. Single flight: a trigger during a turn asks for one more turn, and a
 * lost trigger costs one period, never correctness. Actions of one target follow each other, others run side by side.
 */
export class Reconciler {
  readonly #options: ReconcilerOptions;
  readonly #probes: ProbeScheduler;
  readonly #queues: LeavingQueues;
  readonly #turns: SingleFlight;
  readonly #lanes: Lanes;
  readonly #abort = new AbortController();
  #documents: Documents;
  #planned: Planned = { actions: [], holds: [], leaving: new Map(), strangers: new Map() };
  /** Incarnations that ended since the present look began: it may have seen them still. */
  readonly #ended = new Set<string>();
  readonly #examinations = new Set<Promise<void>>();
  #connecting: Promise<void> | null = null;
  #acting = false;
  #loop: Promise<void> = Promise.resolve();

  constructor(options: ReconcilerOptions) {
    this.#options = options;
    const { ports, journal } = options;
    this.#turns = new SingleFlight(
      () => this.#once(),
      (error) =>
        journal.record({
          type: 'loop.failed',
          target: 'agent',
          level: 'error',
          message: `a turn of the loop failed: ${asAgentError(error).message}`,
          data: {},
        }),
    );
    this.#lanes = new Lanes(() => {
      if (!this.#abort.signal.aborted) void this.trigger();
    });
    this.#probes = new ProbeScheduler(ports, (target, result) => this.#onProbe(target, result));
    this.#queues = new LeavingQueues({
      clock: ports.clock,
      knowledge: options.knowledge,
      hasten: (gpu) => this.#probes.hasten(instanceName(gpu), 'http'),
      lookAgain: () => void this.trigger(),
      signal: this.#abort.signal,
    });
    this.#documents = this.#build(null);
  }

  get documents(): Documents {
    return this.#documents;
  }

  get planned(): Planned {
    return this.#planned;
  }

  /** From now on plans are carried out; before, they are only made. */
  start(): void {
    this.#acting = true;
    this.#loop = this.#repeat();
    this.trigger();
  }

  /** "Look again." Returns the end of the turn that has seen everything up to this call. */
  trigger(): Promise<void> {
    return this.#turns.ask();
  }

  clockJumped(byMs: number): void {
    this.#probes.clockJumped(byMs);
  }

  /** Ends the loop; actions that have begun are waited for. */
  async stop(): Promise<void> {
    this.#acting = false;
    this.#abort.abort();
    await this.#probes.stop();
    await this.#loop;
    await this.#turns.close();
    await Promise.allSettled([this.#lanes.settled(), this.#connecting, this.#queues.ended(), ...this.#examinations]);
  }

  onProcessEvent(event: ProcessEvent): void {
    const { journal, knowledge } = this.#options;
    recordProcessEvent(journal, knowledge, event);
    if (event.kind === 'exit') {
      this.#forgetProcess(event.name);
      this.#examine(event);
    }
    void this.trigger();
  }

  /** Why it ended is found out meanwhile. */
  #examine(event: Extract<ProcessEvent, { kind: 'exit' }>): void {
    const { journal, knowledge, ports } = this.#options;
    const examination = gatherExit(ports, knowledge, event).then((exit) => {
      this.#examinations.delete(examination);
      recordExit(journal, knowledge, event, exit);
      this.refresh();
    });
    this.#examinations.add(examination);
  }

  /** An exit is known before the next look: readiness must not outlive the process by even a moment. */
  #forgetProcess(name: string): void {
    const { knowledge } = this.#options;
    if (knowledge.observed === null) return;
    const { incarnations } = knowledge.observed;
    const seen = incarnations.get(name);
    if (seen?.known === true && seen.value !== null) this.#ended.add(incarnationKey(seen.value));
    knowledge.observed = this.#withoutEnded({ ...knowledge.observed, incarnations: new Map([...incarnations, [name, known(null)]]) });
    this.refresh();
  }

  #withoutEnded(observed: ObservedState): ObservedState {
    const living = [...observed.incarnations].map(([name, seen]): [string, typeof seen] => [
      name,
      seen.known && seen.value !== null && this.#ended.has(incarnationKey(seen.value)) ? known(null) : seen,
    ]);
    return { ...observed, incarnations: new Map(living) };
  }

  async #repeat(): Promise<void> {
    const { clock } = this.#options.ports;
    const { signal } = this.#abort;
    while (!signal.aborted) {
      await clock.sleep(PERIOD_MS, signal).catch(() => undefined);
      if (!signal.aborted) await this.trigger();
    }
  }

  async #once(): Promise<void> {
    const { ports, knowledge, execution, busyOperations, inherited, canary } = this.#options;
    // A jump of the clock is noticed when it is asked: before anything is made of what was noted by the old one.
    ports.clock.now();
    const reading = takeReading(knowledge);
    const desired = desiredBy(reading);
    this.#ended.clear();
    const endLook = this.#lanes.beginLook();
    const seen = await observe(ports, { reading, desired }, knowledge, new Set([...this.#lanes.busy, ...busyOperations()]));
    endLook();
    if (!seen.processes.known && this.#acting) this.#reconnect();
    await watchStartingLogs(ports.files, { ...knowledge, desired, observed: seen }, ports.clock.now());
    await watchMemory(ports, { ...knowledge, desired, observed: seen });
    const launchesSeen = launchesOf({ ...knowledge, desired, observed: seen }, inherited);
    const problems = await launchProblems(ports, reading.configuration, launchesSeen, seen);
    // From here on nothing is awaited: the plan is made and begun of what this look was about, or not at all.
    if (isOutdated(reading, takeReading(knowledge))) {
      void this.trigger();
      return;
    }
    const observed = this.#withoutEnded(seen);
    const { config } = reading.configuration;
    knowledge.desired = desired;
    knowledge.observed = observed;
    knowledge.unwanted = findUnwanted({ config, desired, observed }, knowledge.unwanted, reading.gpusAskedAt);
    knowledge.launches = launchesOf(knowledge, inherited);
    const judged = judgeInstances(knowledge, this.#lanes.acting, ports.clock.now());
    knowledge.rollout = viewRollout(knowledge, judged, this.#lanes.busy, ports.clock.now());
    const state = { desired, observed, unsaved: execution.state.unsaved };
    const input = planInput(knowledge, state, judged, ports.clock.now());
    this.#planned = plan({ ...input, launchProblems: problems });
    knowledge.leaving = this.#planned.leaving;
    const holds = datedHolds(this.#planned.holds, knowledge.holds, toTime(ports.clock.now()));
    recordHolds(this.#options.journal, knowledge.holds, holds);
    knowledge.holds = holds;
    const strangers = knowledge.instances.known('stranger');
    knowledge.instances.replace('stranger', datedStrangers(this.#planned.strangers, strangers, ports.clock.now()));
    this.#probes.setTargets(probeTargets(knowledge, canary));
    this.refresh();
    this.#queues.read(this.#planned.leaving, input.health);
    if (!this.#acting) return;
    for (const action of this.#planned.actions) this.#begin(action);
    void execution.state.saveAgain();
  }

  /** PM2's daemon was lost: in owned mode this starts another; what it had hosted is unknown until then. Once a period. */
  #reconnect(): void {
    const { clock, processes } = this.#options.ports;
    this.#connecting ??= processes
      .connect({ replace: isToBeReplaced(this.#options.knowledge.pm2, this.#options.knowledge.configuration.config.pm2, clock.now()) })
      .then(() => void this.trigger())
      .catch(() => undefined)
      // A daemon that takes connections and answers nothing is not asked without pause.
      .then(() => clock.sleep(PERIOD_MS, this.#abort.signal))
      .catch(() => undefined)
      .finally(() => {
        this.#connecting = null;
      });
  }

  #begin(action: Action): void {
    const target = actionTarget(action);
    // Leases of one plan belong together; anything else waits for the next look.
    if (this.#lanes.busy.has(target)) return;
    const { journal, execution, knowledge, ports } = this.#options;
    const record = (type: string, level: 'info' | 'warn', message: string) =>
      journal.record({ type, target, level, message, data: { kind: action.kind, reason: action.reason } });
    if (action.kind !== 'install' && action.kind !== 'end-rollout')
      record(`action.${action.kind}`, 'info', `${action.kind.replaceAll('-', ' ')}: ${action.reason}`);
    if ((action.kind === 'restart-instance' || action.kind === 'stop-instance') && action.fault !== null)
      recordRemedy(journal, knowledge, { ...action, fault: action.fault }, ports.clock.now());
    this.#lanes.begin(target, async (lane) => {
      // What leaves is given no more work; an action that fails before that point has ended nothing.
      const onEnding = (): void => {
        if (!ENDING.has(action.kind)) return;
        lane.ends();
        this.refresh();
      };
      try {
        await execute(action, { ...execution, onEnding });
      } catch (thrown) {
        const { code, message } = asAgentError(thrown);
        lane.spares();
        if (action.kind !== 'install') record('action.failed', 'warn', `${action.kind} failed: ${message} [${code}]`);
        // A failing action is tried again by a later look, not at once.
        await ports.clock.sleep(PERIOD_MS, this.#abort.signal).catch(() => undefined);
      }
    });
  }

  #onProbe(target: ProbeTarget, result: ProbeResult): void {
    const { knowledge } = this.#options;
    const records = knowledge.instances.of(target.gpu).probes;
    if (result.probe === 'canary') recordProof(this.#options.journal, target, result, records.get('canary')?.latest);
    records.set(result.probe, recordResult(records.get(result.probe), result));
    const before = this.#documents;
    this.refresh();
    // Queues and states that the planner waits for.
    if (this.#documents.health.status !== before.health.status || knowledge.holds.length > 0) void this.trigger();
  }

  /** Makes the documents anew from what is known. */
  refresh(): void {
    const before = this.#documents;
    this.#documents = this.#build(before);
    this.#queues.noteTold();
    this.#options.onDocuments(this.#documents, before);
  }

  #build(before: Documents | null): Documents {
    const { knowledge, machineName, ports, busyOperations } = this.#options;
    return buildDocuments(knowledge, {
      now: ports.clock.now(),
      machineName,
      installing: busyOperations().includes('installation'),
      acting: this.#lanes.acting,
      ending: this.#lanes.ending,
      before,
    });
  }
}
