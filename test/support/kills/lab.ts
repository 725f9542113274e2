import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { delimiter, join } from 'node:path';
import { baseEnvironment } from '../agent/agent.ts';
import { createSimulatorOrigin } from '../comfyui/simulator-origin.ts';
import { createPack, loads, nodesFile } from '../git/pack-origins.ts';
import { type GitHttpServer, startGitHttp } from '../git/servers.ts';
import { uvOnPath } from '../python/uv.ts';
import { startWheelIndex, type WheelIndex } from '../python/wheel-index.ts';

/** What an installation is killed on: ComfyUI and a few packs from a git server, packages from an index, both of which count. */
export interface KillLab {
  readonly git: GitHttpServer;
  readonly index: WheelIndex;
  /** Configuration of the agent that installs from here. */
  readonly config: Record<string, unknown>;
  readonly environment: Record<string, string>;
  /** What is asked for now. */
  readonly wanted: () => Wanted;
  /** Moves two packs to new commits, one of which wants a new version of a package. */
  change(): Promise<Wanted>;
  close(): Promise<void>;
}

export interface Wanted {
  readonly nodes: string;
  /** Commit of each pack. */
  readonly commits: Readonly<Record<string, string>>;
  /** Packages, name -> version. */
  readonly packages: Readonly<Record<string, string>>;
}

const PACKS = ['still', 'moving', 'wanting', 'scripted'] as const;

export async function createKillLab(): Promise<KillLab | { readonly skipped: string }> {
  const directory = await mkdtemp(join(tmpdir(), 'agent-kill-lab-'));
  const uv = await uvOnPath(directory, baseEnvironment());
  if ('skipped' in uv) {
    await rm(directory, { recursive: true, force: true });
    return uv;
  }
  const index = await startWheelIndex(join(directory, 'wheels'));
  const git = await startGitHttp({ directory: join(directory, 'origins') });
  await createSimulatorOrigin(join(directory, 'origins/ComfyUI'));
  const origins = Object.fromEntries(
    await Promise.all(PACKS.map(async (name) => [name, await createPack(join(directory, 'origins'), name, filesOf(name))] as const)),
  );
  await index.add({ name: 'tiny-base', version: '1.0' });
  let round = 0;
  const commits: Record<string, string> = {};
  let wanted: Wanted = { nodes: '', commits: {}, packages: {} };
  const change = async (): Promise<Wanted> => {
    round += 1;
    const version = `1.${round}`;
    await index.add({
      name: 'tiny-lib',
      version,
      requires: ['tiny-base'],
      files: { 'tiny_lib/__init__.py': `VERSION = "${version}"\n` },
    });
    for (const [name, origin] of Object.entries(origins)) {
      const files: Record<string, string> =
        name === 'wanting'
          ? {
              'requirements.txt': `tiny-lib==${version}\n`,
              '__init__.py': loads(`import tiny_lib\nassert tiny_lib.VERSION == "${version}"`),
            }
          : { 'round.txt': `${round}\n` };
      if (round === 1 || name === 'moving' || name === 'wanting') commits[name] = await origin.commit(files);
    }
    const nodes = nodesFile(
      ...PACKS.map((name) => ({
        name,
        url: `http://127.0.0.1:${git.port}/${name}/.git`,
        commit: commits[name],
        requirements: name === 'wanting',
      })),
    );
    wanted = { nodes, commits: { ...commits }, packages: { 'tiny-lib': version, 'tiny-base': '1.0' } };
    return wanted;
  };
  await change();
  return {
    git,
    index,
    config: {
      comfyui: { repository: `http://127.0.0.1:${git.port}/ComfyUI/.git`, environment: { SIM_STARTUP_MS: '100' } },
      python: { indexUrl: index.url },
      releases: { keep: 2 },
    },
    // No wheels of this machine: what is installed comes from the index that counts.
    environment: {
      PATH: `${uv.path}${delimiter}${baseEnvironment()['PATH']}`,
      PIP_FIND_LINKS: '',
      UV_FIND_LINKS: '',
    },
    wanted: () => wanted,
    change,
    close: async () => {
      await git.close();
      await index.close();
      await rm(directory, { recursive: true, force: true });
    },
  };
}

const filesOf = (name: (typeof PACKS)[number]): Record<string, string> =>
  name === 'scripted' ? { 'install.py': 'open("made.txt", "w").write("made")\n' } : {};
