import { type Gpu, type GpuReading, unknownUnreachable, unreachableWords } from '../domain/cards/gpu.ts';
import type { Config } from '../domain/configuration/config.ts';
import { instanceName } from '../domain/identity.ts';
import type { Lock } from '../domain/installation/lock.ts';
import type { InstallationSpec, PackSpec } from '../domain/installation/release.ts';
import type { DesiredInstance } from '../domain/instances/instance.ts';
import type { Observed } from '../domain/observed.ts';
import { type DesiredState, InstanceIntent, type Intents } from '../domain/state/state.ts';
import { digestOf } from '../domain/text/digest.ts';
import { usableCards } from './cards/usable.ts';
import { overrideLine } from './installation/conflicts.ts';
import { resolveSource } from './installation/source.ts';

export interface ResolveInput {
  readonly config: Config;
  readonly packs: readonly PackSpec[];
  readonly lock: Lock | null;
  /** The newest reading that succeeded; unknown only while no card was ever seen. */
  readonly gpus: Observed<GpuReading>;
  readonly intents: Intents;
  readonly generation: number;
}

/** Configuration, cards and operator verbs to the state that should be. */
export function resolve({ config, packs, lock, gpus, intents, generation }: ResolveInput): DesiredState {
  const installation = installationSpec(config, packs);
  const specDigest = digestOf(installation);
  const cards = chooseCards(config.gpu, gpus);
  return {
    generation,
    enabled: config.comfyui.enabled,
    installation,
    specDigest,
    lockDigest: lock?.specDigest === specDigest ? digestOf(lock) : null,
    instances: config.comfyui.enabled ? cards.cards.map((card) => desiredInstance(card, config.gpu.pin, intents)) : [],
    unused: config.comfyui.enabled ? cards.unused : [],
    missing: config.comfyui.enabled ? cards.missing : [],
    wanted: config.comfyui.enabled ? cards.wanted : 0,
    warnings: cards.warnings,
  };
}

/** Only what decides the content of a release: changing a port must not ask for a new installation. */
export function installationSpec(config: Config, packs: readonly PackSpec[]): InstallationSpec {
  const { interpreter, version, torch, constraints, extraRequirements, indexUrl, extraIndexUrls, findLinks } = config.python;
  // Why something is overridden changes nothing.
  const overrides = config.python.overrides.map(overrideLine);
  return {
    source: resolveSource(config.comfyui),
    packs: packs.map((pack) => ({ ...pack, env: withoutLiterals(pack.env) })),
    python: { interpreter, version, torch, overrides, constraints, extraRequirements, indexUrl, extraIndexUrls, findLinks },
    customScripts: config.packs.customScripts,
  };
}

/**
 * A release records what was asked for, and a literal value of a pack's `.env` may be a secret: what names variables stays,
 * anything else becomes its digest, so that a change is still seen.
 */
const withoutLiterals = (env: PackSpec['env']): PackSpec['env'] =>
  Object.fromEntries(
    Object.entries(env).map(([name, value]) => [name, /^(\$\{\w+\})*$/.test(value) ? value : `sha256:${digestOf(value).slice(0, 12)}`]),
  );

/** A place for one instance: a real card, or a stand-in for one. */
interface Card {
  readonly index: number;
  readonly gpu: Gpu | null;
  readonly label: string;
}

interface CardChoice {
  readonly cards: readonly Card[];
  readonly unused: DesiredState['unused'];
  readonly missing: DesiredState['missing'];
  readonly wanted: number;
  readonly warnings: string[];
}

export function chooseCards(setting: Config['gpu'], gpus: Observed<GpuReading>): CardChoice {
  if (setting.mode !== 'actual') {
    const count = (setting.mode === 'mock' ? setting.mockCount : null) ?? setting.count ?? 1;
    const label = setting.mode === 'mock' ? 'mock GPU' : 'CPU';
    const cards = Array.from({ length: count }, (_, index) => ({ index, gpu: null, label }));
    return { cards, unused: [], missing: [], wanted: count, warnings: [] };
  }
  if (!gpus.known) return { cards: [], unused: [], missing: [], wanted: setting.count ?? 1, warnings: [] };
  const usable = usableCards(
    setting,
    [...gpus.value.gpus].sort((a, b) => a.index - b.index),
  );
  const found = usable.cards;
  const used = found.slice(0, setting.count ?? found.length);
  const warnings = [...usable.warnings];
  if (setting.count !== null && setting.count > found.length) {
    warnings.push(`${setting.count} GPUs are asked for (NUM_GPUS, gpu.count) and ${found.length} found: those found are used`);
  }
  for (const gpu of used) {
    if (gpu.migMode === 'enabled' && gpu.migDevices.length === 0)
      warnings.push(`GPU ${gpu.index} is in MIG mode without any MIG device: CUDA cannot use it`);
    if (gpu.migDevices.length > 1)
      warnings.push(`GPU ${gpu.index} is in MIG mode: the first of its ${gpu.migDevices.length} MIG devices is used (gpu.mig: first)`);
    if (gpu.computeMode === 'Prohibited') warnings.push(`GPU ${gpu.index} is in compute mode Prohibited: CUDA refuses it`);
  }
  const cards = used.map((gpu) => ({ index: gpu.index, gpu, label: gpu.name }));
  const reason = `${setting.count} of ${found.length} cards are asked for (NUM_GPUS, gpu.count)`;
  const capped = found.slice(used.length).map(({ index, uuid }) => ({ gpu: index, uuid, reason }));
  const unused = [...usable.unused, ...capped].sort((a, b) => a.gpu - b.gpu);
  const missing = used
    .filter(({ state }) => state === 'missing')
    .map(({ index, uuid, name, pciBusId }) => {
      const replacedBy = gpus.value.waiting?.find(({ formerly }) => formerly === uuid)?.gpu.uuid ?? null;
      return { gpu: index, uuid, name, pciBusId, replacedBy, words: unreachableWords(gpus.value, { uuid, pciBusId }) };
    });
  // One that was dead before it was ever seen is missed too, where nothing says that only others are to be used.
  const dead = usable.isLimited ? 0 : unknownUnreachable(gpus.value.unreachable, gpus.value.gpus).length;
  const wanted = setting.count ?? found.length + usable.absent + dead;
  return { cards, unused, missing, wanted: Math.max(wanted, found.length === 0 ? 1 : 0), warnings };
}

function desiredInstance(card: Card, pin: Config['gpu']['pin'], intents: Intents): DesiredInstance {
  const intent = InstanceIntent.parse(intents.instances[String(card.index)] ?? {});
  return {
    gpu: card.index,
    uuid: card.gpu?.uuid ?? null,
    gpuName: card.label,
    name: instanceName(card.index),
    mode: card.gpu === null ? 'cpu' : 'gpu',
    visibleDevices: card.gpu === null ? '' : visibleDevices(card.gpu, pin),
    ...intent,
  };
}

/** What CUDA_VISIBLE_DEVICES holds for an instance on this card. */
export const visibleDevices = (gpu: Gpu, pin: Config['gpu']['pin']): string =>
  gpu.migMode === 'enabled' && gpu.migDevices[0] !== undefined
    ? gpu.migDevices[0].uuid
    : pin === 'uuid' || gpu.driverIndex === null
      ? gpu.uuid
      : String(gpu.driverIndex);
