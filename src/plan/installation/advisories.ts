/** Packs and packages that are known to do harm, and what the operator says about them. */
import type { Config } from '../../domain/configuration/config.ts';
import type { PackSpec } from '../../domain/installation/release.ts';

export interface Advisory {
  readonly reason: string;
  /** Who says so. */
  readonly source: string;
}

interface PackAdvisory extends Advisory {
  /** Folder, repository or registry names; case, `_` and `.` do not matter. */
  readonly names: readonly string[];
  /** Owners of repositories, on any host. */
  readonly owners: readonly string[];
}

const PACKS: readonly PackAdvisory[] = [
  {
    names: ['comfyui-llmvision', 'llmvision'],
    owners: ['applebotzz'],
    reason: 'it steals passwords and keys of the machine it runs on (June 2024)',
    source: 'security scan of ComfyUI-Manager',
  },
  {
    names: ['lolminer', 'comfyui-lolminer'],
    owners: [],
    reason: 'it mines on the cards of the machine it runs on',
    source: 'security scan of ComfyUI-Manager',
  },
];

interface PackageAdvisory extends Advisory {
  /** A line that keeps the harmful versions out. */
  readonly constraint: string;
}

export const PYTHON_ADVISORIES: readonly PackageAdvisory[] = [
  {
    constraint: 'ultralytics!=8.3.41,!=8.3.42',
    reason: 'these versions carry a miner (December 2024)',
    source: 'security scan of ComfyUI-Manager; ComfyUI-Impact-Pack#843',
  },
  {
    constraint: 'litellm!=1.82.7,!=1.82.8',
    reason: 'these versions steal credentials',
    source: 'security scan of ComfyUI-Manager',
  },
  { constraint: 'lolminer<0', reason: 'it is a miner', source: 'security scan of ComfyUI-Manager' },
];

const plain = (name: string): string => name.toLowerCase().replace(/[_.]+/g, '-');

/** What is known against a pack by its name, repository or registry id; null: nothing. */
export function packAdvisory(pack: Pick<PackSpec, 'name' | 'url' | 'source'>): Advisory | null {
  const parts = pack.url
    .replace(/(?<!\/)\/+$/, '')
    .replace(/\.git$/i, '')
    .split(/[/:@]/);
  const names = [pack.name, parts.at(-1) ?? '', pack.source?.kind === 'registry' ? pack.source.id : ''].map(plain);
  const owner = plain(parts.at(-2) ?? '');
  return PACKS.find((each) => each.owners.includes(owner) || each.names.some((name) => names.includes(name))) ?? null;
}

/** What the registry says against a version; null: nothing, or only that it is still being looked at. */
export function registryAdvisory(status: string, statusReason: string | null): Advisory | null {
  if (!['flagged', 'banned', 'deleted'].includes(status)) return null;
  return { reason: `its status is ${status}${statusReason === null ? '' : ` (${statusReason.slice(0, 200)})`}`, source: 'Comfy Registry' };
}

export type Waiver = Config['packs']['waivers'][number];

/** The operator's reason to take a pack all the same (`packs.waivers`); null: it is refused. */
export const waiverFor = (waivers: readonly Waiver[], pack: string): Waiver | null => waivers.find((each) => each.pack === pack) ?? null;
