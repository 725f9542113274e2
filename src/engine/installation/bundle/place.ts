import { AgentError } from '../../../domain/errors/errors.ts';
import type { BundleMember } from '../../../domain/installation/bundle.ts';
import { normaliseName } from '../../../domain/installation/requirements.ts';
import { configNodesError, readConfigNodes } from '../../../plan/inputs/config-nodes.ts';
import { specDifferences } from '../../../plan/installation/bundle.ts';
import { installationSpec } from '../../../plan/resolve.ts';
import type { LocalWheels } from '../../../ports/python.ts';
import type { Ports } from '../../../ports.ts';
import type { Inputs, Knowledge } from '../../knowledge.ts';
import type { OperationHandle } from '../../operations.ts';
import type { OpenBundle } from './open.ts';

/**
 * Refuses a bundle that was made for another configuration. Changes nothing.
 * @throws AgentError LOCK_DIFFERS with a line for each setting that differs
 */
export async function requireFit(
  { files, python }: Pick<Ports, 'files' | 'python'>,
  knowledge: Knowledge,
  bundle: OpenBundle,
): Promise<void> {
  const { platform, packages } = bundle.lock.python;
  if (packages.length > 0 && platform !== python.platform())
    throw new AgentError('LOCK_DIFFERS', `the bundle holds packages for ${platform}, and this machine is ${python.platform()}`, {
      help: 'make a bundle on a machine like this one',
    });
  const { config } = knowledge.configuration;
  const here = installationSpec(config, await packsWith(files, knowledge, bundle));
  const lines = specDifferences(bundle.lock, bundle.manifest.spec, here);
  if (lines.length === 0) return;
  throw new AgentError('LOCK_DIFFERS', `this machine asks for something else than the bundle was made for: ${lines.join('; ')}`, {
    help: 'make the settings named the same here, or make a bundle on a machine that is configured like this one',
    details: { lines },
  });
}

/** The packs that will be asked for once the bundle is in place: a machine without config_nodes.json takes that of the bundle. */
async function packsWith(files: Ports['files'], { configuration, inputs }: Knowledge, bundle: OpenBundle): Promise<Inputs['packs']> {
  const { layout, config } = configuration;
  const member = bundle.manifest.members.find(({ kind }) => kind === 'nodes');
  if (member === undefined || (await files.exists(layout.configNodes))) return inputs.packs;
  const text = (await files.readText(bundle.pathOf(member))) ?? '';
  const result = readConfigNodes(text, { path: 'config_nodes.json', names: config.packs.names });
  if (!result.ok) throw configNodesError(result.problems);
  return result.packs;
}

/** Puts everything where an installation looks first; what is there already stays. @returns the only source of packages */
export async function placeBundle(
  ports: Ports,
  { configuration }: Knowledge,
  bundle: OpenBundle,
  handle: OperationHandle,
): Promise<LocalWheels> {
  const { files } = ports;
  const { layout } = configuration;
  const { members } = bundle.manifest;
  for (const [index, member] of members.entries()) {
    handle.signal.throwIfAborted();
    handle.update({ message: `taking the bundle in: ${member.name}`, progress: index / members.length });
    await placeMember(ports, bundle, member, {
      nodes: layout.configNodes,
      'models-list': layout.staticModels,
      models: layout.models,
      signal: handle.signal,
    });
  }
  const packages = members.flatMap((member) =>
    member.kind === 'wheel' ? [[normaliseName(member.package), { version: member.version, sha256: member.sha256 }] as const] : [],
  );
  await files.ensureDirectory(bundle.wheels);
  return { directory: bundle.wheels, packages: new Map(packages) };
}

interface Places {
  readonly nodes: string;
  readonly 'models-list': string;
  readonly models: string;
  readonly signal: AbortSignal;
}

async function placeMember(
  { files, git, python, sources }: Ports,
  bundle: OpenBundle,
  member: BundleMember,
  places: Places,
): Promise<void> {
  const path = bundle.pathOf(member);
  const moveUnlessThere = async (to: string): Promise<void> => {
    if (await files.exists(to)) return;
    await files.ensureDirectory(to.slice(0, to.lastIndexOf('/')));
    await files.move(path, to);
  };
  switch (member.kind) {
    case 'nodes':
    case 'models-list':
      return moveUnlessThere(places[member.kind]);
    case 'model':
      return moveUnlessThere(`${places.models}/${member.path}`);
    case 'repository':
      return git.importBundle(member.url, member.commits, path, { signal: places.signal });
    case 'uv':
      return python.placeUv(path);
    case 'archive':
      return sources.adoptArchive(path, member.sha256);
    case 'lock':
    case 'wheel':
      return;
  }
}
