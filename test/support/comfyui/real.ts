import { mkdtemp } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { makeWheel } from '../python/wheel.ts';

/**
 * The ComfyUI that test/real installs, from the environment: AGENT_REAL_COMFYUI_REPO (a git URL; without it these tests are
 * skipped), and if wanted AGENT_REAL_COMFYUI_BRANCH, AGENT_REAL_COMFYUI_COMMIT, AGENT_REAL_TORCH (default 2.13.0+cpu) and
 * AGENT_REAL_FIND_LINKS (folders with wheels, comma-separated).
 */
export interface RealComfyui {
  readonly repository: string;
  readonly torch: string;
  /** Of the configuration. */
  readonly comfyui: Readonly<Record<string, unknown>>;
  readonly findLinks: readonly string[];
}

export function realComfyui(): RealComfyui | null {
  const repository = process.env['AGENT_REAL_COMFYUI_REPO'];
  if (repository === undefined || repository === '') return null;
  return {
    repository,
    torch: process.env['AGENT_REAL_TORCH'] ?? '2.13.0+cpu',
    comfyui: {
      repository,
      branch: process.env['AGENT_REAL_COMFYUI_BRANCH'] ?? null,
      commit: process.env['AGENT_REAL_COMFYUI_COMMIT'] ?? null,
    },
    findLinks: (process.env['AGENT_REAL_FIND_LINKS'] ?? '').split(',').filter((folder) => folder !== ''),
  };
}

const STUBS = { torchvision: '0.28.0+stub', torchaudio: '2.13.0+stub' };

/** torchvision and torchaudio as stubs, of which a start on the CPU needs only the names. To be removed afterwards. */
export async function stubWheels(): Promise<string> {
  const directory = await mkdtemp(join(tmpdir(), 'agent-real-wheels-'));
  await makeWheel(directory, {
    name: 'torchvision',
    version: STUBS.torchvision,
    files: { 'torchvision/__init__.py': 'from . import transforms\n', 'torchvision/transforms.py': '' },
  });
  await makeWheel(directory, { name: 'torchaudio', version: STUBS.torchaudio, files: { 'torchaudio/__init__.py': '' } });
  return directory;
}

/** Options of `startAgent` that make it install this ComfyUI for the CPU. */
export function realAgentOptions(real: RealComfyui, wheels: string, gpus: number) {
  const findLinks = [...real.findLinks, wheels];
  return {
    gpus,
    config: {
      gpu: { mode: 'cpu', count: gpus, mockCount: null },
      comfyui: real.comfyui,
      python: { torch: real.torch, overrides: Object.entries(STUBS).map(([name, version]) => `${name}==${version}`), findLinks },
    },
    // The environment wins over the file, and here it must not.
    environment: { PIP_FIND_LINKS: findLinks.join(' ') },
  };
}
