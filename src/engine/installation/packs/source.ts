import { AgentError, isAgentError } from '../../../domain/errors/errors.ts';
import { redactUrl } from '../../../domain/installation/git-url.ts';
import type { LockedSource } from '../../../domain/installation/lock.ts';
import type { PackSource, PackSpec } from '../../../domain/installation/release.ts';
import { type Advisory, registryAdvisory, waiverFor } from '../../../plan/installation/advisories.ts';
import type { GitOptions, GitSource } from '../../../ports/git.ts';
import { type InstallContext, packDirectory } from '../context.ts';
import { isCommit, type Locked, lockedGit } from '../locked-source.ts';

/**
 * Brings the tree of one pack into the release, from wherever it comes.
 * @throws AgentError LOCK_DIFFERS when the lock names something else, SOURCE_REFUSED, and what git and Sources throw
 */
export async function fetchTree(context: InstallContext, pack: PackSpec): Promise<LockedSource> {
  const pin = context.pins.packs.get(pack.name) ?? null;
  if (pin !== null && pin.kind !== expectedKind(pack.source))
    throw lockDiffers(pack, `the lock names a source of kind ${pin.kind}, config_nodes.json another`);
  const { source } = pack;
  if (source === undefined) return fetchGit(context, pack, pin?.kind === 'git' ? pin : null);
  if (source.kind === 'directory') return copyDirectory(context, pack, source.path, pin?.kind === 'directory' ? pin : null);
  return fetchArchive(context, pack, source, pin?.kind === 'archive' ? pin : null);
}

const expectedKind = (source: PackSource | undefined): LockedSource['kind'] =>
  source === undefined ? 'git' : source.kind === 'registry' ? 'archive' : source.kind;

const lockDiffers = (pack: PackSpec, why: string): AgentError =>
  new AgentError('LOCK_DIFFERS', `${pack.name}: ${why}`, {
    help: `find out why it changed; \`agent update --pack ${pack.name}\` moves the pin`,
    details: { pack: pack.name },
  });

const progress = ({ tracker, signal }: InstallContext, pack: PackSpec): GitOptions => ({
  signal,
  onCache: (isCached) => tracker.cache(isCached ? 1 : 0, 1),
  onProgress: ({ stage, fraction, bytes }) => {
    tracker.bytes(bytes);
    tracker.line(`${pack.name}: ${stage}${fraction === null ? '' : ` ${Math.round(fraction * 100)} %`}`);
  },
});

async function fetchGit(context: InstallContext, pack: PackSpec, pin: Locked<'git'> | null): Promise<LockedSource> {
  const { ports, tracker } = context;
  const fetched = await ports.git.checkout({ url: pack.url, ...wanted(context, pack, pin) }, packDirectory(context, pack.name), {
    ...progress(context, pack),
    recursive: pack.recursive,
    lfs: pack.lfs === true,
  });
  const locked = lockedGit(pack.url, fetched, pin);
  if (pin !== null) {
    const difference = gitDifference(pin, locked);
    if (difference !== null) throw lockDiffers(pack, difference);
  }
  for (const warning of fetched.warnings) tracker.packWarning(pack.name, warning);
  if (fetched.lfsPointers.length > 0 && pack.lfs !== true)
    tracker.packWarning(
      pack.name,
      `${fetched.lfsPointers.length} Git LFS files were not fetched ("lfs": true fetches them), first: ${fetched.lfsPointers[0]}`,
    );
  return locked;
}

/** Where the lock has it; else what `agent update --pack NAME@REF` names for this once; else what its entry asks for. */
function wanted({ moves }: InstallContext, pack: PackSpec, pin: Locked<'git'> | null): Pick<GitSource, 'branch' | 'commit'> {
  if (pin !== null) return { branch: pack.branch, commit: pin.commit };
  const ref = moves.packs[pack.name] ?? null;
  if (ref === null) return { branch: pack.branch, commit: pack.commit };
  return isCommit(ref) ? { branch: pack.branch, commit: ref } : { branch: ref, commit: null };
}

/** In words; null when the checkout is what the lock names. */
function gitDifference(pin: Locked<'git'>, found: Locked<'git'>): string | null {
  if (pin.commit !== found.commit) return `commit ${found.commit} in place of ${pin.commit}`;
  const commits = new Map(found.submodules.map(({ path, commit }) => [path, commit]));
  for (const { path, commit } of pin.submodules) {
    const is = commits.get(path);
    if (is !== commit)
      return is === undefined ? `submodule ${path} is missing` : `submodule ${path} has commit ${is} in place of ${commit}`;
    commits.delete(path);
  }
  const [more] = commits.keys();
  return more === undefined ? null : `submodule ${more} is not in the lock`;
}

async function copyDirectory(
  context: InstallContext,
  pack: PackSpec,
  path: string,
  pin: Locked<'directory'> | null,
): Promise<LockedSource> {
  const from = path.startsWith('/') ? path : `${context.layout.shared}/${path}`;
  const { sha256 } = await context.ports.sources.directory(from, packDirectory(context, pack.name), progress(context, pack));
  if (pin !== null && pin.sha256 !== sha256) throw lockDiffers(pack, `${from} has sha256 ${sha256} in place of ${pin.sha256}`);
  return { kind: 'directory', path, sha256 };
}

type Remote = Exclude<PackSource, { kind: 'directory' }>;

async function fetchArchive(context: InstallContext, pack: PackSpec, source: Remote, pin: Locked<'archive'> | null): Promise<LockedSource> {
  const { url, version } = await archiveUrl(context, pack, source, pin);
  const expected = pin?.sha256 ?? (source.kind === 'archive' ? source.sha256 : null);
  try {
    const { sha256 } = await context.ports.sources.archive(
      { url, sha256: expected },
      packDirectory(context, pack.name),
      progress(context, pack),
    );
    return { kind: 'archive', url: redactUrl(url), version, sha256 };
  } catch (error) {
    if (pin !== null && isAgentError(error) && error.code === 'DIGEST_DIFFERS') throw lockDiffers(pack, error.message);
    throw error;
  }
}

async function archiveUrl(
  context: InstallContext,
  pack: PackSpec,
  source: Remote,
  kept: Locked<'archive'> | null,
): Promise<{ readonly url: string; readonly version: string | null }> {
  if (source.kind === 'archive') return { url: withVariables(context, pack, source.url), version: null };
  // A masked query is of no use; the registry is asked again for that very version.
  if (kept !== null && !kept.url.includes('***')) return { url: kept.url, version: kept.version };
  const { config, ports, signal, tracker } = context;
  const request = {
    registryUrl: config.packs.registryUrl,
    id: source.id,
    version: kept?.version ?? context.moves.packs[pack.name] ?? source.version,
  };
  const found = await ports.sources.registryVersion(request, { signal });
  const advisory = registryAdvisory(found.status, found.statusReason);
  if (advisory !== null) refuseUnlessWaived(context, pack, advisory);
  else if (found.status !== 'active') tracker.packWarning(pack.name, `its status in the Comfy Registry is ${found.status}`);
  if (found.url === null) throw new AgentError('SOURCE_NOT_FOUND', `the registry names no archive for ${source.id} ${found.version}`);
  return { url: found.url, version: found.version };
}

/** Credentials stand in variables, so that no document holds them. */
function withVariables(context: InstallContext, pack: PackSpec, url: string): string {
  const at = url.indexOf('@');
  return url.replace(/\$\{([A-Za-z_][A-Za-z0-9_]*)\}/g, (_, name: string, offset: number) => {
    const value = context.secrets.environment[name];
    if (value === undefined || value === '')
      throw new AgentError('SOURCE_NOT_FOUND', `the archive of ${pack.name} names the variable ${name}, which is not set`);
    return offset < at ? encodeURIComponent(value) : value;
  });
}

/** @throws AgentError SOURCE_REFUSED */
export function refuseUnlessWaived(context: InstallContext, pack: PackSpec, { reason, source }: Advisory): void {
  const waiver = waiverFor(context.config.packs.waivers, pack.name);
  if (waiver === null) {
    throw new AgentError('SOURCE_REFUSED', `${pack.name} is refused: ${reason}, says ${source}`, {
      help: 'remove it; if you know better, add it to packs.waivers with a reason',
    });
  }
  context.tracker.packWarning(pack.name, `${reason}, says ${source}; taken all the same, because: ${waiver.reason}`);
}
