import type { Release } from '../../../src/domain/installation/release.ts';
import type { OperationDocument } from '../../../src/domain/operation.ts';
import { readRelease } from '../../../src/engine/releases/releases.ts';
import { COMFYUI, configNodes, INDEX, repositories } from './fake-repositories.ts';
import { aMachine, type Machine, type MachineOptions } from './machine.ts';
import { createWorld, type World } from './world.ts';

export interface GitMachineOptions extends Omit<MachineOptions, 'world'> {
  /** Name to text of requirements.txt. */
  readonly packs?: Readonly<Record<string, string | null>>;
  /** Text of config_nodes.json; default: all packs. */
  readonly nodes?: string;
  readonly prepare?: (world: World) => void;
}

/** A machine that installs ComfyUI and packs from git; its loop is not started. */
export async function aGitMachine({ packs = {}, nodes, prepare, config, ...rest }: GitMachineOptions = {}): Promise<Machine> {
  const world = await createWorld({ repositories: repositories(packs), index: INDEX });
  world.files.put('/workspace/shared/config_nodes.json', nodes ?? configNodes(...Object.keys(packs)));
  prepare?.(world);
  return aMachine({ world, config: { ...config, comfyui: { repository: COMFYUI, ...config?.comfyui } }, ...rest });
}

/** Installs, and waits for the end. */
export async function install(machine: Machine, kind: 'install' | 'reinstall' = 'install'): Promise<OperationDocument> {
  // Releases are named by the second.
  await machine.advance(1_000);
  return machine.finished(await machine.core.agent.startOperation({ kind }));
}

/** What `current` names; null when nothing is installed. */
export async function currentRelease({ world, core }: Machine): Promise<Release | null> {
  const target = await world.files.readLink('/workspace/current');
  return target === null ? null : readRelease(world.files, core.knowledge.configuration.layout, target.split('/').at(-1) ?? '');
}
