import { AgentError } from '../../../domain/errors/errors.ts';
import { type BundleManifest, type BundleMember, MANIFEST_NAME } from '../../../domain/installation/bundle.ts';
import { redactUrl } from '../../../domain/installation/git-url.ts';
import { LOCK_NAME, type Lock } from '../../../domain/installation/lock.ts';
import type { Release } from '../../../domain/installation/release.ts';
import { toTime } from '../../../domain/observed.ts';
import { digestOf } from '../../../domain/text/digest.ts';
import { lockedArchives, lockedRepositories, notIncluded } from '../../../plan/installation/bundle.ts';
import { lockText } from '../../../plan/installation/lock.ts';
import { resolve } from '../../../plan/resolve.ts';
import type { Ports } from '../../../ports.ts';
import type { Knowledge } from '../../knowledge.ts';
import type { OperationHandle } from '../../operations.ts';
import { readCurrent, releaseDirectory } from '../../releases/releases.ts';
import { atPlace } from '../packs/paths.ts';
import { requireLock } from '../require-lock.ts';
import { workDirectory } from './work-directory.ts';

export interface BundleRequest {
  /** Absolute; must not exist. */
  readonly file: string;
  readonly withModels: boolean;
  /** Version of the agent. */
  readonly createdBy: string;
}

/** A member whose digest is still to be taken. */
type Draft = { readonly path: string; readonly member: DistributiveOmit<BundleMember, 'sha256' | 'sizeBytes'> };
type DistributiveOmit<T, K extends PropertyKey> = T extends unknown ? Omit<T, K> : never;

/**
 * Writes the release in place, as its lock names it, into one archive. @returns the closing message
 * @throws AgentError HELD when there is no release of this lock, LOCK_DIFFERS when the lock is not what is asked for
 */
export async function createBundle(ports: Ports, knowledge: Knowledge, handle: OperationHandle, request: BundleRequest): Promise<string> {
  const { files } = ports;
  const { layout } = knowledge.configuration;
  if (await files.exists(request.file))
    throw new AgentError('REQUEST_INVALID', `${request.file} is there already`, { help: 'name a new file, or remove that one first' });
  const { lock, release, spec } = await bundled(ports, knowledge);
  const work = await workDirectory(files, layout, digestOf([request.file, ports.clock.now()]).slice(0, 16));
  await files.ensureDirectory(`${work}/wheels`, 0o700);
  try {
    const drafts = [
      ...(await texts(ports, knowledge, lock, work)),
      ...(await repositories(ports, knowledge, lock, work, handle)),
      ...(await packages(ports, knowledge, { lock, release, work }, handle)),
      ...(await archiveFiles(ports, lock, handle)),
    ];
    const models = request.withModels ? await modelFiles(ports, layout.models, lock) : { drafts: [], missing: [] };
    drafts.push(...models.drafts);
    const members = [];
    for (const { path, member } of drafts) {
      handle.signal.throwIfAborted();
      handle.update({ message: `taking the digest of ${member.name}` });
      members.push({
        path,
        member: { ...member, sha256: await files.digest(path, handle.signal), sizeBytes: (await files.size(path)) ?? 0 },
      });
    }
    const manifest: BundleManifest = {
      schema: 1,
      createdBy: request.createdBy,
      createdAt: toTime(ports.clock.now()),
      lockDigest: digestOf(lock),
      spec,
      members: members.map(({ member }) => withOrigin(member as BundleMember, lock)),
      notIncluded: notIncluded(lock, {
        withModels: request.withModels,
        missingModels: models.missing,
        lfsPacks: spec.packs.filter((pack) => pack.lfs === true).map((pack) => pack.name),
      }),
    };
    const totalBytes = members.reduce((sum, { member }) => sum + member.sizeBytes, 0);
    let bytes = 0;
    await ports.archives.create(
      request.file,
      { name: MANIFEST_NAME, text: `${JSON.stringify(manifest, null, 2)}\n` },
      members.map(({ path, member }) => ({ name: member.name, path })),
      {
        signal: handle.signal,
        onProgress: (more) => {
          bytes += more;
          handle.update({ message: 'writing the archive', progress: Math.min(1, totalBytes === 0 ? 1 : bytes / totalBytes) });
        },
      },
    );
    const left = manifest.notIncluded.map(({ what }) => what);
    return `${request.file} holds release ${release.id} in ${members.length + 1} members, ${Math.ceil(totalBytes / 1024 / 1024)} MiB; not in it: ${left.join(', ')}`;
  } finally {
    await files.remove(work);
  }
}

/** The lock, and the release that proves it. */
async function bundled(ports: Ports, knowledge: Knowledge): Promise<{ lock: Lock; release: Release; spec: Release['spec'] }> {
  const { configuration, inputs, cards, intents } = knowledge;
  const { config, generation, layout } = configuration;
  const desired = resolve({ config, packs: inputs.packs, lock: inputs.lock, gpus: cards, intents, generation });
  const { lock } = inputs;
  requireLock(lock, desired.installation);
  const { release } = await readCurrent(ports.files, layout);
  if (release === null || release.lockDigest !== digestOf(lock))
    throw new AgentError('HELD', 'the release in place is not what agent.lock.json says', { help: 'run `agent install` first' });
  return { lock, release, spec: desired.installation };
}

async function texts({ files }: Ports, { configuration: { layout } }: Knowledge, lock: Lock, work: string): Promise<Draft[]> {
  await files.writeText(`${work}/${LOCK_NAME}`, lockText(lock));
  const inputs = [
    { kind: 'nodes', name: 'config_nodes.json', path: layout.configNodes },
    { kind: 'models-list', name: 'static-models.json', path: layout.staticModels },
  ] as const;
  const found: Draft[] = [{ path: `${work}/${LOCK_NAME}`, member: { kind: 'lock', name: LOCK_NAME } }];
  for (const { kind, name, path } of inputs) if (await files.exists(path)) found.push({ path, member: { kind, name } });
  return found;
}

async function repositories(
  { git }: Ports,
  { inputs, configuration }: Knowledge,
  lock: Lock,
  work: string,
  handle: OperationHandle,
): Promise<Draft[]> {
  // The lock has no credentials; what is asked for may.
  const named = [configuration.config.comfyui.repository, ...inputs.packs.map((pack) => pack.url)];
  const drafts: Draft[] = [];
  for (const [url, commits] of lockedRepositories(lock)) {
    handle.update({ message: `bundling ${url}` });
    const name = `repositories/${digestOf(url).slice(0, 16)}.bundle`;
    const path = `${work}/${name.replace('/', '-')}`;
    await git.createBundle(named.find((each) => redactUrl(each) === url) ?? url, commits, path, { signal: handle.signal });
    drafts.push({ path, member: { kind: 'repository', name, url, commits: [...commits] } });
  }
  return drafts;
}

async function packages(
  { python: environments }: Ports,
  { configuration: { layout } }: Knowledge,
  { lock, release, work }: { readonly lock: Lock; readonly release: Release; readonly work: string },
  handle: OperationHandle,
): Promise<Draft[]> {
  const { packages: pins, constraints, torchBackend } = lock.python;
  if (pins.length === 0) return [];
  const { indexUrl, extraIndexUrls, findLinks } = release.spec.python;
  const [base, directory] = [releaseDirectory(layout, release.id), `${work}/wheels`];
  const python = `${base}/${release.python}`;
  const shared = { indexUrl, extraIndexUrls, findLinks, python, directory, signal: handle.signal };
  handle.update({ message: `collecting wheels of ${pins.length} packages` });
  const wheels = await environments.collectWheels({
    ...shared,
    pins: pins.map((locked) => atPlace(base, locked)),
    constraints,
    torchBackend,
    onLine: (line) => handle.update({ message: `collecting wheels: ${line.trim().slice(0, 200)}` }),
  });
  const drafts = pins.map((locked): Draft => {
    const file = wheels.get(locked.name) ?? '';
    const version = file.split('-')[1] ?? '';
    const name = `wheels/${digestOf(file).slice(0, 16)}.whl`;
    return { path: `${directory}/${file}`, member: { kind: 'wheel', name, package: locked.name, version, file, built: false } };
  });
  handle.update({ message: 'collecting uv' });
  const file = await environments.collectUv(shared);
  return [...drafts, { path: `${directory}/${file}`, member: { kind: 'uv', name: 'uv/uv.whl', file } }];
}

/** A wheel that is none of the locked files was built here. */
function withOrigin(member: BundleMember, lock: Lock): BundleMember {
  if (member.kind !== 'wheel') return member;
  const locked = lock.python.packages.find(({ name }) => name === member.package);
  return { ...member, built: locked?.hashes.includes(`sha256:${member.sha256}`) !== true };
}

async function archiveFiles({ sources }: Ports, lock: Lock, handle: OperationHandle): Promise<Draft[]> {
  const drafts: Draft[] = [];
  for (const [sha256, url] of lockedArchives(lock)) {
    handle.update({ message: `collecting ${url}` });
    const path = await sources.archiveFile({ url, sha256 }, { signal: handle.signal });
    drafts.push({ path, member: { kind: 'archive', name: `archives/${sha256}.zip` } });
  }
  return drafts;
}

async function modelFiles({ files }: Ports, directory: string, lock: Lock): Promise<{ drafts: Draft[]; missing: string[] }> {
  const drafts: Draft[] = [];
  const missing: string[] = [];
  for (const { path } of lock.models) {
    const file = await files.realPath(`${directory}/${path}`);
    if (file === null) missing.push(path);
    else drafts.push({ path: file, member: { kind: 'model', name: `models/${digestOf(path).slice(0, 32)}`, path } });
  }
  return { drafts, missing };
}
