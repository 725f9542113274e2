import type { Agent } from '../../src/domain/agent.ts';
import { AgentError } from '../../src/domain/errors/errors.ts';
import type { HealthDocument } from '../../src/domain/health/health.ts';
import type { JournalEvent, LogLine } from '../../src/domain/journal.ts';
import type { OperationDocument } from '../../src/domain/operation.ts';
import { Broadcast } from '../../src/engine/broadcast.ts';
import {
  aHealthDocument,
  aJournalEvent,
  aLivenessDocument,
  aModelsDocument,
  anInstallationDocument,
  anInstancesDocument,
  anOperationDocument,
  anUnseenInstance,
  aReadyDocument,
} from '../support/machine/documents.ts';
import {
  aConfigDocument,
  aDiscoveryDocument,
  aDoctorDocument,
  aDriftDocument,
  aGpusDocument,
  aPortsDocument,
  aReleasesDocument,
  aStateDocument,
  aStatusDocument,
  aVersionDocument,
  somePrometheusTargets,
} from '../support/machine/machine-documents.ts';

/** The whole facade in memory, with levers for tests. */
export interface FakeAgent extends Agent {
  /** Calls that ask for a change, in order. */
  readonly asked: readonly { readonly call: string; readonly argument: unknown }[];
  /** Appends to the journal; readers see it. */
  record(change?: Partial<JournalEvent>): JournalEvent;
  /** Adds a log line; followers see it. */
  log(source: string, line: string): void;
  /** Readers see that the discovery document changed. */
  announce(): Promise<void>;
  /** Changes an operation; its followers see it, and end with it. */
  change(id: string, change: Partial<OperationDocument>): void;
  /** Live readers at this moment. */
  readonly followers: number;
}

export interface FakeAgentOptions extends Partial<Agent> {
  /** false: as in the first second, before the cards were read. */
  readonly cardsSeen?: boolean;
  /** What the health answers are made from. */
  readonly document?: HealthDocument;
  readonly journal?: readonly JournalEvent[];
  readonly lines?: readonly LogLine[];
}

/** A healthy machine with two instances. Each method can be replaced; documents are one object until replaced, as the agent's are. */
export function fakeAgent(options: FakeAgentOptions = {}): FakeAgent {
  const { cardsSeen = true, document, journal: firstEvents, lines: firstLines, ...overrides } = options;
  const asked: { call: string; argument: unknown }[] = [];
  const health = document ?? aHealthDocument();
  const journal: JournalEvent[] = [
    ...(firstEvents ?? [
      aJournalEvent(1),
      aJournalEvent(2, { type: 'instance.exit', level: 'warn', message: 'instance 1 ended: signal SIGKILL' }),
    ]),
  ];
  const lines: LogLine[] = [
    ...(firstLines ?? [
      { source: '0', line: 'Starting server' },
      { source: '0', line: 'To see the GUI go to: http://127.0.0.1:8188' },
      { source: 'agent', line: 'ready' },
    ]),
  ];
  const operations = new Map<string, OperationDocument>();
  const operationChanges = new Broadcast<OperationDocument>();
  const journalChanges = new Broadcast<JournalEvent>();
  const logChanges = new Broadcast<LogLine>();
  const discoveryChanges = new Broadcast<Awaited<ReturnType<Agent['discovery']>>>();
  let followers = 0;

  async function* counted<T>(values: AsyncIterable<T>): AsyncIterable<T> {
    followers += 1;
    try {
      yield* values;
    } finally {
      followers -= 1;
    }
  }
  const shows = (source: string, line: LogLine): boolean => source === 'all' || line.source === source;
  const constant =
    <T>(value: T) =>
    () =>
      Promise.resolve(value);

  const base: Agent = {
    version: constant(aVersionDocument()),
    liveness: constant(aLivenessDocument()),
    ready: constant(
      aReadyDocument({
        ready: health.ready && health.status !== 'disabled',
        capacity: health.capacity,
        reasons: health.ready ? [] : health.reasons,
      }),
    ),
    health: constant(health),
    installation: constant(anInstallationDocument()),
    instances: constant(anInstancesDocument({ ready: health.ready, instances: health.instances, reasons: health.reasons })),
    async instance(reference) {
      const found = health.instances.find((instance) => String(instance.gpu) === reference || instance.uuid === reference);
      if (!cardsSeen) return anUnseenInstance(reference);
      if (found === undefined) throw new AgentError('INSTANCE_NOT_FOUND', `there is no GPU ${reference}`);
      return found;
    },
    models: constant(aModelsDocument()),
    status: constant(aStatusDocument({ health })),
    state: constant(aStateDocument({ holds: health.holds })),
    plan: constant({ actions: [], holds: health.holds }),
    gpus: constant(aGpusDocument()),
    ports: constant(aPortsDocument()),
    discovery: constant(aDiscoveryDocument()),
    prometheusTargets: constant(somePrometheusTargets()),
    releases: constant(aReleasesDocument()),
    config: constant(aConfigDocument()),
    drift: constant(aDriftDocument()),
    doctor: constant(aDoctorDocument()),
    metrics: constant('# TYPE comfylet_up gauge\ncomfylet_up 1\n'),
    operations: async () => [...operations.values()],
    async operation(id) {
      const found = operations.get(id);
      if (found === undefined) throw new AgentError('OPERATION_NOT_FOUND', `there is no operation ${id}`);
      return found;
    },
    async startOperation(request) {
      asked.push({ call: 'startOperation', argument: request });
      const target =
        request.kind === 'install' || request.kind === 'reinstall' || request.kind === 'rollback'
          ? 'installation'
          : `instances ${request.gpus?.join(',') ?? 'all'}`;
      const running = [...operations.values()].find((operation) => operation.target === target && operation.state === 'running');
      if (running !== undefined) return running;
      const fresh = anOperationDocument({
        id: `${request.kind}-${operations.size + 1}`,
        kind: request.kind,
        target,
        message: `${request.kind} began`,
      });
      operations.set(fresh.id, fresh);
      return fresh;
    },
    async *followOperation(id, signal) {
      const present = await agent.operation(id);
      const changes = operationChanges.subscribe(signal);
      yield present;
      if (present.state !== 'running') return;
      for await (const next of counted(changes)) {
        if (next.id !== id) continue;
        yield next;
        if (next.state !== 'running') return;
      }
    },
    async acceptGpus() {
      asked.push({ call: 'acceptGpus', argument: null });
      return agent.gpus();
    },
    async patchInstance(reference, patch) {
      const instance = await agent.instance(reference);
      asked.push({ call: 'patchInstance', argument: { reference, patch } });
      return { ...instance, cordoned: patch.cordoned ?? instance.cordoned };
    },
    async *events({ backlog, follow }, signal) {
      const changes = journalChanges.subscribe(signal);
      yield* backlog === 0 ? [] : journal.slice(-backlog);
      if (follow) yield* counted(changes);
    },
    async *discoveryEvents(signal) {
      const changes = discoveryChanges.subscribe(signal);
      yield await agent.discovery();
      yield* counted(changes);
    },
    async *logs({ source, lines: newest, follow }, signal) {
      const changes = logChanges.subscribe(signal);
      yield* newest === 0 ? [] : lines.filter((line) => shows(source, line)).slice(-newest);
      if (!follow) return;
      for await (const line of counted(changes)) if (shows(source, line)) yield line;
    },
    ...overrides,
  };
  const agent: FakeAgent = Object.assign(base, {
    asked,
    followers: 0,
    record(change: Partial<JournalEvent> = {}) {
      const entry = aJournalEvent((journal.at(-1)?.id ?? 0) + 1, change);
      journal.push(entry);
      journalChanges.publish(entry);
      return entry;
    },
    log(source: string, line: string) {
      lines.push({ source, line });
      logChanges.publish({ source, line });
    },
    async announce() {
      discoveryChanges.publish(await agent.discovery());
    },
    change(id: string, change: Partial<OperationDocument>) {
      const present = operations.get(id);
      if (present === undefined) throw new AgentError('OPERATION_NOT_FOUND', `there is no operation ${id}`);
      const next = { ...present, ...change };
      operations.set(id, next);
      operationChanges.publish(next);
    },
  });
  Object.defineProperty(agent, 'followers', { get: () => followers });
  return agent;
}
