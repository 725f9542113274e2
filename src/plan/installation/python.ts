/** What the Python environment of a release is to hold: which torch, and what nobody may move. */
import { normaliseName, parseRequirement, requirementNames } from '../../domain/installation/requirements.ts';
import { PYTHON_ADVISORIES } from './advisories.ts';
import { compareVersions } from './flags.ts';

export interface TorchQuestion {
  /** `python.torch`: auto, cpu, cuNNN, or a pin. */
  readonly setting: string;
  /** As nvidia-smi tells it, "570.124.06"; null when it could not be read. */
  readonly driverVersion: string | null;
  readonly hasGpu: boolean;
}

export interface TorchChoice {
  /** uv's --torch-backend; null leaves torch to the indexes. */
  readonly backend: string | null;
  /** A constraint line `torch==…`; null leaves the version to the resolution. */
  readonly pin: string | null;
  /** In words, for the journal. */
  readonly reason: string;
  /** Set when the choice is likely not what the operator wants. */
  readonly warning: string | null;
}

/**
 * Oldest Linux driver on which a build of torch runs. CUDA 13.x and 11.x by minor-version compatibility ("CUDA
 * Compatibility" guide, table of minimum drivers: 13.x 580, 12.x 525.60.13, 11.x 450.80.02); 12.8 by the driver of its
 * own toolkit (CUDA 12.8 release notes: 570.26), because older ones cannot compile its PTX for new cards.
 */
const DRIVERS: readonly (readonly [driver: string, backend: string])[] = [
  ['580', 'cu130'],
  ['570', 'cu128'],
  ['525.60.13', 'cu126'],
  ['450.80.02', 'cu118'],
];

/** Newest CUDA that every driver of the last years runs; used when the driver's version is not known. */
const UNKNOWN_DRIVER_BACKEND = 'cu126';

export function chooseTorch({ setting, driverVersion, hasGpu }: TorchQuestion): TorchChoice {
  const choice = (backend: string | null, pin: string | null, reason: string, warning: string | null = null): TorchChoice => ({
    backend,
    pin,
    reason,
    warning,
  });
  if (setting === 'cpu' || /^cu\d{2,3}$/.test(setting)) return choice(setting, null, `python.torch is ${setting}`);
  if (setting !== 'auto') {
    const pin = setting.startsWith('torch==') ? setting : `torch==${setting}`;
    return choice(null, pin, `python.torch pins ${pin}`);
  }
  if (!hasGpu) return choice('cpu', null, 'no GPU is used');
  if (driverVersion === null) {
    return choice(
      UNKNOWN_DRIVER_BACKEND,
      null,
      'the driver version is not known',
      `the version of the NVIDIA driver could not be read: torch for ${UNKNOWN_DRIVER_BACKEND} is chosen; set python.torch to choose another`,
    );
  }
  const found = DRIVERS.find(([driver]) => compareVersions(driverVersion, driver) >= 0);
  if (found !== undefined) return choice(found[1], null, `driver ${driverVersion} is ${found[0]} or newer`);
  return choice(
    'cpu',
    null,
    `driver ${driverVersion} is too old for CUDA`,
    `the NVIDIA driver ${driverVersion} is older than 450.80.02, which no supported torch runs on: torch for the CPU is installed; update the driver`,
  );
}

/** Versions that are known to break ComfyUI or to do harm, kept out whatever anybody asks for. */
export const KNOWN_BAD: readonly string[] = [
  // The WebSocket closes right after it opened (Comfy-Org/ComfyUI#15016 and PR 15752, aio-libs/aiohttp PR 13302).
  'aiohttp!=3.14.2,!=3.14.3',
  ...PYTHON_ADVISORIES.map(({ constraint }) => constraint),
];

/** Lines that hold for the whole environment: known-bad versions, the torch pin, then the operator's own. */
export const environmentConstraints = (torch: TorchChoice, configured: readonly string[]): string[] => [
  ...KNOWN_BAD,
  ...(torch.pin === null ? [] : [torch.pin]),
  ...configured,
];

/** Imported by ComfyUI, or run by many packs' install.py, without being listed in requirements.txt. */
const UNLISTED: readonly string[] = [
  // app/frontend_management.py imports it; transformers 5 and huggingface_hub 1 no longer bring it along.
  'requests',
  // A virtual environment of uv has no pip, and packs call `python -m pip`.
  'pip',
];

/**
 * Lines to add to ComfyUI's requirements.txt: what it forgets, and the operator's extras. A file that asks for nothing
 * (the simulator's) needs no additions either, so that it installs without a network.
 */
export function coreRequirements(requirementsText: string, extraRequirements: readonly string[]): string[] {
  const listed = new Set([...requirementNames(requirementsText), ...requirementNames(extraRequirements.join('\n'))]);
  if (requirementNames(requirementsText).length === 0) return [...extraRequirements];
  return [...UNLISTED.filter((name) => !listed.has(name)), ...extraRequirements];
}

const TORCH_FAMILY = /^(?:torch|torchvision|torchaudio|torchtext|triton|pytorch-triton(?:-.+)?|nvidia-.+)$/;

/** Whether a package must match the torch build: a pack that asks for another version of one would break CUDA. */
export const isTorchFamily = (name: string): boolean => TORCH_FAMILY.test(normaliseName(name));

/**
 * What packs may not move, from the pins found for ComfyUI alone. `torch`: the torch family and ComfyUI's own packages;
 * everything else stays free within the ranges that ComfyUI itself asks for, because its requirements are part of the
 * same resolution. `all`: every pin, for a second resolution that may only add.
 */
export function packConstraints(corePins: readonly string[], freeze: 'torch' | 'all' = 'torch'): string[] {
  return corePins.filter((pin) => {
    const requirement = parseRequirement(pin);
    if (requirement.kind !== 'package') return false;
    return freeze === 'all' || isTorchFamily(requirement.name) || requirement.name.startsWith('comfyui-');
  });
}

/** Environment of whatever may run pip or uv in a release: it must not move torch or the core, nor build against others. */
export const constraintVariables = (constraintsFile: string): Readonly<Record<string, string>> => ({
  PIP_CONSTRAINT: constraintsFile,
  PIP_BUILD_CONSTRAINT: constraintsFile,
  UV_CONSTRAINT: constraintsFile,
  UV_BUILD_CONSTRAINT: constraintsFile,
});
