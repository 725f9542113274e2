import { join } from 'node:path';
import type { InstallationDocument } from '../../../src/domain/health/health.ts';
import type { PackStatus } from '../../../src/domain/installation/release.ts';
import type { TestAgent } from '../agent/agent.ts';
import { createOrigin, type Origin } from './origin.ts';

/** The text of a pack's __init__.py that loads, with more Python before. */
export const loads = (python = ''): string => `${python}\nNODE_CLASS_MAPPINGS = {}\n`;

/** A repository of a node pack; without files of its own it loads and does nothing. */
export async function createPack(directory: string, name: string, files: Readonly<Record<string, string>> = {}): Promise<Origin> {
  const origin = await createOrigin(join(directory, name));
  await origin.commit({ '__init__.py': loads(), ...files });
  return origin;
}

/** shared/config_nodes.json of these entries. */
export const nodesFile = (...entries: readonly Readonly<Record<string, unknown>>[]): string =>
  JSON.stringify({ custom_nodes: entries.map((entry) => ({ requirements: false, ...entry })) }, null, 2);

export const installationOf = async (agent: TestAgent): Promise<InstallationDocument> =>
  (await agent.get('/health/comfyui/installation')).body as InstallationDocument;

export async function packOf(agent: TestAgent, name: string): Promise<PackStatus> {
  const { packs } = await installationOf(agent);
  const pack = packs.find((candidate) => candidate.name === name);
  if (pack === undefined) throw new Error(`no pack ${name}: ${JSON.stringify(packs)}`);
  return pack;
}

/** Folder of a pack in the release in use. */
export const folderOf = (agent: TestAgent, name: string): string => join(agent.root, 'current/ComfyUI/custom_nodes', name);
