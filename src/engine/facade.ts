import type { Agent, ConfigDocument, PortsDocument, StatusDocument, VersionDocument } from '../domain/agent.ts';
import { AgentError } from '../domain/errors/errors.ts';
import { instanceName } from '../domain/identity.ts';
import type { InstanceDocument } from '../domain/instances/instance.ts';
import { NOT_LOOKED_YET, toTime } from '../domain/observed.ts';
import type { StateDocument } from '../domain/state/state.ts';
import type { Ports } from '../ports.ts';
import { cardsOf, gpusOf } from './cards/document.ts';
import type { CardSlots } from './cards/slots.ts';
import { examine } from './doctor/doctor.ts';
import { examineDrift } from './installation/drift.ts';
import { type InstallationOperations, requestBundle, requestInstallation } from './installation/operations.ts';
import { type InstanceOperations, patchIntent, startInstanceOperation } from './instances/operations.ts';
import type { Journal } from './journal.ts';
import type { Knowledge } from './knowledge.ts';
import type { Operations } from './operations.ts';
import type { Reconciler } from './reconciler.ts';
import { listReleases } from './releases/releases.ts';
import { requestRollback } from './releases/rollback.ts';
import { type DiscoveryPublisher, prometheusTargets } from './reports/discovery.ts';
import { readLogs } from './reports/log-sources.ts';
import { metricSamples } from './reports/metrics/metrics.ts';
import type { Caretaker } from './upkeep/caretaker.ts';

const RECENT_EVENTS = 8;

export interface FacadeParts {
  readonly ports: Ports;
  readonly knowledge: Knowledge;
  readonly reconciler: Reconciler;
  readonly operations: Operations;
  readonly installations: InstallationOperations;
  readonly journal: Journal;
  readonly discovery: DiscoveryPublisher;
  readonly instanceOperations: InstanceOperations;
  readonly caretaker: Caretaker;
  readonly slots: CardSlots;
  readonly version: VersionDocument;
  readonly process: { readonly pid: number; readonly startedAt: number; readonly running: boolean; readonly url: () => string | null };
}

/** The program as others see it: documents from the cache, verbs into operations. */
export function createFacade(parts: FacadeParts): Agent {
  const { ports, knowledge, reconciler, operations, journal, discovery, instanceOperations } = parts;
  const documents = () => reconciler.documents;
  /** Only a card that was seen can be given a wish. */
  const gpuOf = (reference: string): number => {
    const { gpu, status, layers } = findInstance(parts, reference);
    if (documents().instances.instances.some((instance) => instance.gpu === gpu)) return gpu;
    throw new AgentError('HELD', `GPU ${reference} is ${status}: ${layers.runtime.reason ?? 'ComfyUI is disabled'}`);
  };

  return {
    version: async () => parts.version,
    liveness: async () => ({
      status: 'ok',
      version: parts.version.agent,
      startedAt: toTime(parts.process.startedAt),
      uptimeMs: ports.clock.now() - parts.process.startedAt,
      configuration: documents().configuration,
    }),
    ready: async () => documents().ready,
    health: async () => documents().health,
    installation: async () => documents().installation,
    instances: async () => documents().instances,
    instance: async (reference) => findInstance(parts, reference),
    models: async () => documents().models,
    status: async () => statusOf(parts),
    state: async () => stateOf(knowledge),
    plan: async () => ({ actions: [...reconciler.planned.actions], holds: [...knowledge.holds] }),
    gpus: async () => gpusOf(knowledge),
    acceptGpus: async () => {
      await parts.slots.accept();
      await reconciler.trigger();
      return gpusOf(knowledge);
    },
    ports: () => portsOf(parts),
    discovery: async () => documents().discovery,
    prometheusTargets: async () => prometheusTargets(documents().discovery),
    releases: () => listReleases(ports.files, knowledge.configuration.layout, true),
    config: async (): Promise<ConfigDocument> => ({
      file: knowledge.configuration.file,
      values: [...knowledge.configuration.provenance],
      problem: documents().configuration.problem,
    }),
    drift: () => examineDrift(ports, knowledge),
    doctor: () =>
      examine(ports, {
        ...knowledge.configuration,
        problems: problemsOf(knowledge.configuration.problem),
        agentPid: parts.process.running ? parts.process.pid : null,
      }),
    metrics: () => ports.metrics.render(metricSamples(knowledge, documents())),
    operations: async () => operations.list(),
    operation: async (id) => operations.get(id),
    startOperation: async (request) => {
      const { kind } = request;
      if (kind === 'bundle') return requestBundle(parts.installations, ports, parts.version.agent, request);
      if (kind === 'cleanup') return parts.caretaker.request(request);
      if (kind === 'rollback') return requestRollback(parts.installations, request);
      return kind === 'install' || kind === 'reinstall' || kind === 'update'
        ? requestInstallation(parts.installations, kind, request)
        : startInstanceOperation(instanceOperations, kind, request);
    },
    followOperation: (id, signal) => operations.follow(id, signal),
    patchInstance: async (reference, patch) => {
      const gpu = gpuOf(reference);
      await patchIntent(instanceOperations, gpu, patch);
      return findInstance(parts, String(gpu));
    },
    events: async function* ({ backlog, follow }, signal) {
      const live = follow ? journal.follow(signal) : null;
      try {
        yield* journal.newest(backlog);
        if (live !== null) yield* live;
      } finally {
        live?.leave();
      }
    },
    discoveryEvents: async function* (signal) {
      const live = discovery.subscribe(signal);
      try {
        yield documents().discovery;
        yield* live;
      } finally {
        live.leave();
      }
    },
    logs: (query, signal) =>
      readLogs(
        ports.files,
        knowledge.configuration.layout,
        documents().instances.instances.map((instance) => instance.gpu),
        query,
        signal,
      ),
  };
}

const problemsOf = (problem: string | null): readonly string[] => (problem === null ? [] : [problem]);

function findInstance({ knowledge, reconciler }: FacadeParts, reference: string): InstanceDocument {
  const { instances } = reconciler.documents.instances;
  const found = instances.find((instance) => String(instance.gpu) === reference || (instance.uuid !== null && instance.uuid === reference));
  if (found !== undefined) return found;
  const { enabled } = knowledge.configuration.config.comfyui;
  const notSeen = !knowledge.cards.known || knowledge.desired === null;
  if ((enabled && !notSeen) || !/^(\d{1,3}|GPU-[\w-]{1,64}|MIG-[\w-]{1,64})$/.test(reference)) {
    throw new AgentError(
      'INSTANCE_NOT_FOUND',
      `there is no GPU ${reference}; there ${instances.length === 1 ? 'is' : 'are'} ${instances.map((instance) => instance.gpu).join(', ') || 'none'}`,
    );
  }
  return unseenInstance(
    reference,
    enabled,
    knowledge.gpus.known ? 'the GPUs were not looked at yet' : `the GPUs were not seen: ${knowledge.gpus.reason}`,
  );
}

/** Before the cards were seen a GPU may or may not exist: that is unknown, neither "no such GPU" nor "failed". */
function unseenInstance(reference: string, enabled: boolean, reason: string): InstanceDocument {
  const layer = { status: 'unknown' as const, reason: enabled ? reason : null, checkedAt: null };
  const index = /^\d+$/.test(reference) ? Number(reference) : 0;
  return {
    gpu: index,
    uuid: /^\d+$/.test(reference) ? null : reference,
    gpuName: 'not seen',
    name: instanceName(index),
    status: enabled ? 'unknown' : 'disabled',
    ready: false,
    url: null,
    wsUrl: null,
    host: null,
    port: null,
    pid: null,
    startedAt: null,
    release: null,
    layers: { installation: layer, runtime: layer, functional: layer, models: layer },
    restarts: { total: 0, inWindow: 0, lastReason: null },
    cordoned: false,
    verdicts: [],
    hold: null,
    queue: null,
    warnings: [],
  };
}

export function statusOf({
  knowledge,
  reconciler,
  operations,
  journal,
  version,
  process,
  ports,
}: Omit<FacadeParts, 'installations' | 'discovery' | 'instanceOperations' | 'caretaker' | 'slots'>): StatusDocument {
  const { installation, health } = reconciler.documents;
  const failed = installation.packs.filter((pack) => pack.state === 'failed').length;
  const source = installation.release;
  return {
    agent: {
      running: process.running,
      version: version.agent,
      pid: process.running ? process.pid : null,
      startedAt: process.running ? toTime(process.startedAt) : null,
      url: process.url(),
    },
    machine: knowledge.machine.known ? knowledge.machine.value : null,
    root: knowledge.configuration.layout.root,
    health,
    installation: {
      status: installation.status,
      release: source?.id ?? null,
      summary:
        source === null
          ? (installation.reason ?? 'nothing is installed')
          : `ComfyUI ${source.comfyuiVersion ?? 'of unknown version'}, ${source.repository}${source.branch === null ? '' : ` ${source.branch}`} at ${source.commit.slice(0, 10)}`,
      packs: { installed: installation.packs.length - failed, failed },
    },
    gpus: knowledge.gpus.known ? [...cardsOf(knowledge)] : null,
    operations: operations.list().filter((operation) => operation.state === 'running'),
    recent: [...journal.newest(RECENT_EVENTS, 'warn')],
    asOf: toTime(ports.clock.now()),
  };
}

function stateOf({ desired, observed, holds, leases }: Knowledge): StateDocument {
  const parts = {
    gpus: observed?.gpus,
    machine: observed?.machine,
    processes: observed?.processes,
    release: observed?.release,
    ports: observed?.portHolders,
    models: observed?.models,
  };
  return {
    desired,
    observed: {
      at: observed === null ? null : toTime(observed.at),
      gpus: observed?.gpus.known ? [...observed.gpus.value.gpus] : null,
      machine: observed?.machine.known ? observed.machine.value : null,
      processes: observed?.processes.known ? [...observed.processes.value] : null,
      release: observed?.release.known ? observed.release.value : null,
      leases: [...leases],
      portHolders: observed?.portHolders.known ? [...observed.portHolders.value] : null,
      unknown: Object.entries(parts).flatMap(([name, part]) =>
        part === undefined ? [`${name}: ${NOT_LOOKED_YET}`] : part.known ? [] : [`${name}: ${part.reason}`],
      ),
    },
    holds: [...holds],
  };
}

async function portsOf({ knowledge, ports }: FacadeParts): Promise<PortsDocument> {
  const { desired, leases, observed, configuration } = knowledge;
  const { first } = configuration.config.ports;
  const rows = (desired?.instances ?? []).map(({ gpu, name }) => {
    const lease = leases.find((candidate) => candidate.gpu === gpu) ?? null;
    return { gpu, name, lease, tcpPort: lease?.tcpPort ?? first + gpu };
  });
  const holders = await ports.kernel.portHolders(rows.map((row) => row.tcpPort));
  return {
    ports: await Promise.all(
      rows.map(async ({ gpu, name, lease, tcpPort }) => {
        const holder = holders.find((candidate) => candidate.tcpPort === tcpPort) ?? null;
        const seen = observed?.incarnations.get(name);
        const pid = seen?.known === true ? seen.value?.pid : undefined;
        const ours =
          holder === null || holder.pid === null || seen?.known === false
            ? null
            : pid !== undefined &&
              (await ports.kernel.tree(pid).then(
                (tree) => tree.includes(holder.pid ?? 0),
                () => null,
              ));
        return { gpu, tcpPort, lease, holder, ours };
      }),
    ),
  };
}
