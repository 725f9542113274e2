import type { Config } from '../../domain/configuration/config.ts';
import type { Verdict } from '../../domain/faults/verdict.ts';
import type {
  ConfigurationHealth,
  HealthDocument,
  HealthStatus,
  InstallationDocument,
  InstancesDocument,
  ModelStatus,
  ModelsDocument,
  ReadyDocument,
} from '../../domain/health/health.ts';
import type { Hold } from '../../domain/hold.ts';
import type { InstallProgress, PackStatus, Release } from '../../domain/installation/release.ts';
import type { InstanceDocument, LayerHealth, LayerName } from '../../domain/instances/instance.ts';
import { type Observed, toTime } from '../../domain/observed.ts';
import type { DesiredState } from '../../domain/state/state.ts';
import { missingWords } from '../cards/missing.ts';

/** The installation as one document: what is in place, what is being built, what failed. */
export function summarizeInstallation(input: {
  readonly enabled: boolean;
  readonly release: Observed<Release | null>;
  readonly releaseProblem: string | null;
  readonly progress: InstallProgress | null;
  readonly installing: boolean;
  readonly warnings: readonly string[];
}): InstallationDocument {
  const { release: seen, progress, installing } = input;
  const release = seen.known ? seen.value : null;
  const inPlace = release !== null && input.releaseProblem === null;
  const packs = installing && !inPlace ? (progress?.packs ?? []) : (release?.packs ?? progress?.packs ?? []);
  const failedPacks = packs.filter((pack) => pack.state === 'failed');
  const lastError = progress?.lastError ?? null;
  const [status, reason] = ((): [InstallationDocument['status'], string | null] => {
    if (!input.enabled) return ['disabled', 'ComfyUI is disabled (ENABLE_COMFYUI)'];
    if (!seen.known) return ['unknown', seen.reason];
    if (inPlace && release.source.fallback)
      return ['degraded', `the fallback repository is installed: ${release.source.fallbackReason ?? 'the first could not be reached'}`];
    if (inPlace && failedPacks.length > 0)
      return [
        'degraded',
        `${failedPacks.length} node pack${failedPacks.length === 1 ? '' : 's'} failed: ${failedPacks.map(failedPack).join(', ')}`,
      ];
    if (inPlace) return ['installed', null];
    if (installing && progress !== null) return ['installing', `step ${progress.step}, ${Math.round(progress.progress * 100)} %`];
    if (lastError !== null) return ['broken', `${lastError.message}; ${lastError.help}`];
    if (release !== null) return ['broken', `${input.releaseProblem}; run \`agent reinstall\``];
    return ['none', 'nothing is installed yet'];
  })();
  return {
    status,
    ok: inPlace || !input.enabled,
    reason,
    release:
      release === null
        ? null
        : {
            id: release.id,
            createdAt: release.createdAt,
            repository: release.source.repository,
            branch: release.source.branch,
            commit: release.source.commit,
            comfyuiVersion: release.comfyuiVersion,
            pythonVersion: release.pythonVersion,
            torch: release.torch,
            fallback: release.source.fallback,
          },
    step: installing ? (progress?.step ?? null) : null,
    progress: installing ? (progress?.progress ?? 0) : inPlace ? 1 : 0,
    bytes: progress?.bytes ?? 0,
    etaMs: installing ? (progress?.etaMs ?? null) : null,
    lastError,
    packs,
    warnings: [...(release?.warnings ?? []), ...input.warnings],
    operation: progress,
  };
}

const PACK_ERROR_CHARACTERS = 160;

/** "Pack (why)" */
function failedPack({ name, error }: PackStatus): string {
  if (error === null) return name;
  const line = error.split('\n', 1)[0] ?? '';
  return `${name} (${line.length > PACK_ERROR_CHARACTERS ? `${line.slice(0, PACK_ERROR_CHARACTERS - 1)}…` : line})`;
}

export function installationLayer(document: InstallationDocument, at: number): LayerHealth {
  if (document.status === 'unknown') return { status: 'unknown', reason: document.reason, checkedAt: toTime(at) };
  return { status: document.ok ? 'pass' : 'fail', reason: document.ok ? null : document.reason, checkedAt: toTime(at) };
}

export function summarizeModels(enabled: boolean, models: Observed<readonly ModelStatus[]>, at: number | null): ModelsDocument {
  const base = { checkedAt: at === null ? null : toTime(at), required: 0, present: [], missing: [], corrupt: [] };
  if (!enabled) return { ...base, status: 'disabled', reason: null };
  if (!models.known) return { ...base, status: 'unknown', reason: models.reason };
  const by = (state: ModelStatus['state']) => models.value.filter((model) => model.state === state);
  const [missing, corrupt, unread] = [by('missing'), by('corrupt'), by('unknown')];
  const bad = [...missing, ...corrupt];
  const first = bad[0];
  return {
    ...base,
    required: models.value.length,
    present: by('present'),
    missing,
    corrupt,
    status: bad.length > 0 ? 'fail' : unread.length > 0 ? 'unknown' : 'pass',
    reason:
      first !== undefined
        ? `${bad.length} of ${models.value.length} required models ${bad.length === 1 ? 'is' : 'are'} not usable, first: ${first.path} is ${first.state} (asked for by ${first.requiredBy.join(', ')})`
        : unread.length > 0
          ? `${unread.length} models could not be read`
          : null,
  };
}

export const modelsLayer = (document: ModelsDocument): LayerHealth => ({
  status: document.status === 'fail' ? 'fail' : document.status === 'unknown' ? 'unknown' : 'pass',
  reason: document.status === 'fail' || document.status === 'unknown' ? document.reason : null,
  checkedAt: document.checkedAt,
});

const SERVING = new Set(['healthy', 'degraded']);

/** Everything in one answer, and the two that load balancers read. */
export function summarizeHealth(input: {
  readonly config: Config;
  readonly wanted: number;
  readonly cardsSeen: boolean;
  readonly missing: DesiredState['missing'];
  readonly installation: InstallationDocument;
  readonly models: ModelsDocument;
  readonly instances: readonly InstanceDocument[];
  readonly holds: readonly Hold[];
  /** Of the machine as a whole. */
  readonly verdicts: readonly Verdict[];
  readonly warnings: readonly string[];
  readonly configuration: ConfigurationHealth;
  readonly now: number;
}): { health: HealthDocument; instances: InstancesDocument; ready: ReadyDocument } {
  const { config, instances, holds } = input;
  const readyCount = instances.filter((instance) => instance.ready).length;
  const capacity = { ready: readyCount, wanted: input.wanted };
  const enabled = config.comfyui.enabled;
  const enough = !enabled || (readyCount >= config.health.minReady && (input.cardsSeen || readyCount > 0));
  // One cause in the machine is told once, not by each card.
  const cause = input.verdicts.find(({ fault }) => fault === 'cuda-unavailable');
  const ofInstances = instances
    .filter((instance) => !instance.ready && instance.status !== 'disabled')
    .filter(({ status }) => cause === undefined || status === 'stopped')
    .map((instance) => `gpu ${instance.gpu}: ${instanceReason(instance)}`);
  const reasons = [
    ...(input.cardsSeen || !enabled ? [] : ['the GPUs were not seen yet']),
    ...(input.installation.ok || input.installation.reason === null ? [] : [`installation: ${input.installation.reason}`]),
    ...(cause === undefined ? [] : [`${cause.reason}; ${cause.next}`]),
    ...ofInstances,
    // Where an instance waits for its card it says so itself.
    ...input.missing.map(missingWords).filter((words) => ofInstances.every((reason) => !reason.includes(words))),
    ...holds.filter((hold) => !hold.target.startsWith('instance ')).map((hold) => `${hold.target}: ${hold.reason}`),
  ];
  const notes = [
    ...input.warnings,
    ...(input.installation.status === 'degraded' && input.installation.reason !== null ? [input.installation.reason] : []),
    ...(input.models.status === 'fail' && input.models.reason !== null ? [input.models.reason] : []),
    ...input.verdicts.filter((verdict) => verdict !== cause).map((verdict) => verdict.reason),
    ...instances.flatMap((instance) => instance.warnings.map((warning) => `gpu ${instance.gpu}: ${warning}`)),
    // Of an instance that is not ready the reason is told above.
    ...instances.filter(({ ready }) => ready).flatMap(({ gpu, verdicts }) => verdicts.map((verdict) => `gpu ${gpu}: ${verdict.reason}`)),
  ];
  const whole =
    readyCount >= input.wanted &&
    instances.every((instance) => instance.status === 'healthy') &&
    holds.length === 0 &&
    notes.length === 0 &&
    input.configuration.ok;
  const anyUnknown = instances.some((instance) => instance.status === 'unknown');
  const status: HealthStatus = !enabled
    ? 'disabled'
    : !input.cardsSeen && instances.length === 0
      ? 'unknown'
      : whole && enough
        ? 'healthy'
        : enough
          ? 'degraded'
          : anyUnknown && !instances.some((instance) => SERVING.has(instance.status))
            ? 'unknown'
            : 'unhealthy';
  const checkedAt = toTime(input.now);
  return {
    // Also of a machine that is ready: why its capacity is not whole.
    ready: { ready: enough && enabled, capacity: `${readyCount}/${input.wanted}`, reasons },
    instances: { ready: enough, capacity, reasons, instances: [...instances] },
    health: {
      status,
      ready: enough,
      capacity: `${readyCount}/${input.wanted}`,
      reasons: [...reasons, ...notes],
      checkedAt,
      layers: {
        installation: installationLayer(input.installation, input.now),
        runtime: combine(instances, 'runtime', checkedAt),
        functional: combine(instances, 'functional', checkedAt),
        models: modelsLayer(input.models),
      },
      instances: [...instances],
      holds: [...holds],
      verdicts: [...input.verdicts],
      configuration: input.configuration,
    },
  };
}

/** Why an instance is not ready: the first layer that does not pass, else the operator's wish. */
export function instanceReason(instance: InstanceDocument): string {
  if (instance.hold !== null) return instance.hold;
  if (instance.status === 'stopped') return `stopped on purpose; \`agent start ${instance.gpu}\` starts it`;
  for (const name of ['installation', 'runtime', 'functional'] as const) {
    const health = instance.layers[name];
    if (health.status !== 'pass') return `${instance.status}, ${health.reason ?? `${name} ${health.status}`}`;
  }
  if (instance.cordoned) return `cordoned on purpose: it takes no new jobs until \`agent uncordon ${instance.gpu}\``;
  return instance.status;
}

/** A layer over all instances: fails with the first that fails, unknown before pass. */
function combine(instances: readonly InstanceDocument[], name: LayerName, checkedAt: string): LayerHealth {
  const wanted = instances.filter((instance) => instance.status !== 'stopped' && instance.status !== 'disabled');
  const failing =
    wanted.find((instance) => instance.layers[name].status === 'fail') ??
    wanted.find((instance) => instance.layers[name].status === 'unknown');
  if (failing === undefined)
    return { status: wanted.length === 0 ? 'unknown' : 'pass', reason: wanted.length === 0 ? 'no instance is wanted' : null, checkedAt };
  const health = failing.layers[name];
  return { status: health.status, reason: `gpu ${failing.gpu}: ${health.reason ?? ''}`, checkedAt };
}
