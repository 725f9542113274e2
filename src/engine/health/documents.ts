import type { Documents } from '../../domain/health/documents.ts';
import type { ConfigurationHealth, InstancesDocument } from '../../domain/health/health.ts';
import { instanceTarget, type Target } from '../../domain/identity.ts';
import type { Release } from '../../domain/installation/release.ts';
import type { DiscoveryDocument } from '../../domain/instances/discovery.ts';
import type { InstanceDocument } from '../../domain/instances/instance.ts';
import { NOT_LOOKED_YET, type Observed, toTime, unknown } from '../../domain/observed.ts';
import { cardRemarks } from '../../plan/cards/remarks.ts';
import { machineVerdicts } from '../../plan/faults/verdicts.ts';
import { assessInstance } from '../../plan/health/assess.ts';
import { installationLayer, modelsLayer, summarizeHealth, summarizeInstallation, summarizeModels } from '../../plan/health/summary.ts';
import { portInUse } from '../../plan/instances/leases.ts';
import { machineVerdictFacts } from '../faults/facts.ts';
import type { Knowledge } from '../knowledge.ts';
import { judgeInstance } from './judged.ts';

export interface DocumentContext {
  readonly now: number;
  readonly machineName: string;
  readonly installing: boolean;
  /** Targets with an action under way. */
  readonly acting: ReadonlySet<Target>;
  /** Targets with one that ends the instance. */
  readonly ending: ReadonlySet<Target>;
  /** Answers of the moment before: an instance keeps its `since`. */
  readonly before: Documents | null;
}

export function buildDocuments(knowledge: Knowledge, context: DocumentContext): Documents {
  const { configuration, desired, observed, holds, inputs } = knowledge;
  const { config } = configuration;
  const { now } = context;
  const release: Observed<Release | null> = observed?.release ?? unknown(NOT_LOOKED_YET);
  const enabled = config.comfyui.enabled;
  const installation = summarizeInstallation({
    enabled,
    release,
    releaseProblem: observed?.releaseProblem ?? null,
    progress: knowledge.installProgress,
    installing: context.installing,
    warnings: inputs.warnings,
  });
  const models = summarizeModels(enabled, knowledge.models, knowledge.modelsCheckedAt);
  const layers = { installation: installationLayer(installation, now), models: modelsLayer(models) };
  const remarks = cardRemarks(knowledge.gpus, knowledge.cards);
  const instances = (desired?.instances ?? []).map((instance): InstanceDocument => {
    const { facts, verdicts, restarts, health, acting } = judgeInstance(knowledge, instance, context.acting, now);
    return assessInstance({
      config,
      instance,
      ...layers,
      installing: context.installing,
      release: release.known ? (release.value?.id ?? null) : null,
      tcpPort: portInUse(facts.process.known ? facts.process.value : null, instance.gpu, knowledge.leases),
      advertiseHost: advertiseHost(knowledge, context.machineName),
      process: facts.process,
      incarnation: facts.incarnation,
      probes: facts.probes,
      lastLogAt: facts.startMovedAt,
      restarts,
      health,
      acting,
      ending: context.ending.has(instanceTarget(instance.gpu)),
      hold: holds.find((hold) => hold.target === instanceTarget(instance.gpu))?.reason ?? null,
      leaving: knowledge.leaving.get(instance.gpu) ?? null,
      verdicts,
      warnings: remarks.cards.get(instance.uuid ?? '') ?? [],
      now,
    });
  });
  const configurationHealth: ConfigurationHealth = {
    ok: configuration.problem === null && inputs.problem === null,
    problem: configuration.problem ?? inputs.problem?.message ?? null,
    generation: configuration.generation,
  };
  const summary = summarizeHealth({
    config,
    wanted: desired?.wanted ?? 0,
    cardsSeen: knowledge.cards.known,
    missing: desired?.missing ?? [],
    installation,
    models,
    instances,
    holds,
    verdicts: machineVerdicts(machineVerdictFacts(knowledge, now)),
    warnings: [
      ...(desired?.warnings ?? []),
      ...remarks.machine,
      ...configuration.warnings,
      ...inputs.warnings,
      ...knowledge.unplaced,
      ...knowledge.stateTroubles,
    ],
    configuration: configurationHealth,
    now,
  });
  return {
    installation,
    models,
    ...summary,
    configuration: configurationHealth,
    clockShiftMs: knowledge.clockShiftMs,
    discovery: discoveryOf(
      summary.instances,
      release.known ? release.value : null,
      context,
      knowledge.clockShiftMs - (context.before?.clockShiftMs ?? 0),
    ),
  };
}

/** The host that workers are told: a wildcard address is of no use to them. */
function advertiseHost(knowledge: Knowledge, machineName: string): string {
  const { api, comfyui } = knowledge.configuration.config;
  if (api.advertiseHost !== null) return api.advertiseHost;
  const listen = comfyui.listen.split(',')[0]?.trim() ?? '127.0.0.1';
  return listen === '0.0.0.0' || listen === '::' ? machineName : listen;
}

function discoveryOf(instances: InstancesDocument, release: Release | null, context: DocumentContext, shiftMs: number): DiscoveryDocument {
  const { before, now, machineName } = context;
  const found = instances.instances.flatMap((instance) => {
    if (instance.host === null || instance.port === null || instance.url === null || instance.wsUrl === null) return [];
    const old = before?.discovery.instances.find((candidate) => candidate.gpu === instance.gpu);
    const { gpu, uuid, name, ready, host, port, url, wsUrl } = instance;
    return [
      {
        gpu,
        uuid,
        name,
        ready,
        host,
        port,
        url,
        wsUrl,
        protocol: release?.validated?.protocol ?? ('unknown' as const),
        comfyuiVersion: release?.comfyuiVersion ?? null,
        since: old !== undefined && old.ready === ready ? toTime(Date.parse(old.since) + shiftMs) : toTime(now),
      },
    ];
  });
  return {
    schema: 1,
    machine: machineName,
    generatedAt: toTime(now),
    release: release?.id ?? null,
    capacity: instances.capacity,
    instances: found,
  };
}
