import { SIMULATOR_REPOSITORY } from '../../domain/configuration/config.ts';
import { AgentError, isAgentError } from '../../domain/errors/errors.ts';
import { INPUT_LIMITS } from '../../domain/files/foreign.ts';
import type { LockedSource } from '../../domain/installation/lock.ts';
import type { Release, SourceSpec } from '../../domain/installation/release.ts';
import { supportedFlags } from '../../plan/installation/flags.ts';
import { fallbackSource } from '../../plan/installation/source.ts';
import { checkoutOf, type InstallContext } from './context.ts';
import { isCommit, lockedGit } from './locked-source.ts';

export interface FetchedSource {
  readonly source: Release['source'];
  readonly locked: LockedSource;
  readonly comfyuiVersion: string | null;
  readonly flags: readonly string[];
}

/** Brings ComfyUI into the release: from git, from the fallback if it was allowed, or from the simulator inside the agent. */
export async function fetchSource(context: InstallContext): Promise<FetchedSource> {
  const { locked, ...source } = await fetchTree(context);
  const { files } = context.ports;
  const checkout = checkoutOf(context);
  if (!(await files.exists(`${checkout}/main.py`))) {
    throw new AgentError('NOT_COMFYUI', `${source.repository} at ${source.commit.slice(0, 10)} has no main.py`);
  }
  // ComfyUI lists this folder at start and ends when it is not there.
  await files.ensureDirectory(`${checkout}/custom_nodes`);
  const comfyuiVersion = await readVersion(context);
  const flags = supportedFlags(await readPython(context, 'comfy/cli_args.py'), comfyuiVersion);
  return { source, locked, comfyuiVersion, flags };
}

type Fetched = Release['source'] & { readonly locked: LockedSource };

async function fetchTree(context: InstallContext): Promise<Fetched> {
  const { spec, tracker, config } = context;
  if (spec.source.repository === SIMULATOR_REPOSITORY) {
    const { assets, files } = context.ports;
    await files.copyTree(await assets.simulator(), checkoutOf(context));
    tracker.detail('the embedded simulator');
    return {
      repository: SIMULATOR_REPOSITORY,
      branch: null,
      commit: 'embedded',
      fallback: false,
      fallbackReason: null,
      locked: { kind: 'embedded' },
    };
  }
  try {
    const pin = context.pins.core?.kind === 'git' ? context.pins.core : null;
    const wanted = pin === null ? moved(spec.source, context.moves.core?.ref ?? null) : { ...spec.source, commit: pin.commit };
    return { ...(await checkout(context, wanted, config.comfyui.repository)), fallback: false, fallbackReason: null };
  } catch (error) {
    const fallback = fallbackSource(config.comfyui);
    const unreachable = isAgentError(error) && (error.code === 'REPOSITORY_UNREACHABLE' || error.code === 'REPOSITORY_NOT_FOUND');
    if (!unreachable || fallback === null) throw error;
    tracker.warn(`${spec.source.repository}: ${error.message}; the fallback ${fallback.repository} is used`);
    await context.ports.files.remove(checkoutOf(context));
    return {
      ...(await checkout(context, fallback, config.comfyui.fallbackRepository ?? fallback.repository)),
      fallback: true,
      fallbackReason: error.message,
    };
  }
}

/** @param url as configured, perhaps with credentials */
async function checkout(
  context: InstallContext,
  source: SourceSpec,
  url: string,
): Promise<Pick<Fetched, 'repository' | 'branch' | 'commit' | 'locked'>> {
  const { tracker, ports, signal } = context;
  tracker.detail(`fetching ${source.repository} ${source.commit ?? source.branch ?? '(default branch)'}`);
  const fetched = await ports.git.checkout({ url, branch: source.branch, commit: source.commit }, checkoutOf(context), {
    recursive: true,
    signal,
    onCache: (isCached) => tracker.cache(isCached ? 1 : 0, 1),
    onProgress: ({ stage, fraction, bytes }) => {
      tracker.bytes(bytes);
      if (fraction !== null) tracker.fraction(fraction);
      tracker.line(`git: ${stage}${fraction === null ? '' : ` ${Math.round(fraction * 100)} %`}`);
    },
  });
  tracker.detail(`${source.repository} at ${fetched.commit.slice(0, 10)}${fetched.branch === null ? '' : ` (${fetched.branch})`}`);
  return {
    repository: source.repository,
    branch: fetched.branch ?? source.branch,
    commit: fetched.commit,
    locked: lockedGit(source.repository, fetched, context.pins.core),
  };
}

/** Another ref than the configuration names, for this once: `agent update --core REF`. */
const moved = (source: SourceSpec, ref: string | null): SourceSpec =>
  ref === null ? source : isCommit(ref) ? { ...source, commit: ref } : { ...source, branch: ref, commit: null };

const readPython = (context: InstallContext, name: string): Promise<string | null> => {
  const within = checkoutOf(context);
  return context.ports.files.readForeign(`${within}/${name}`, { within, maxBytes: INPUT_LIMITS.source });
};

async function readVersion(context: InstallContext): Promise<string | null> {
  const declared = await readPython(context, 'comfyui_version.py');
  const fromPython = declared === null ? null : /__version__\s*=\s*["']([^"']+)["']/.exec(declared)?.[1];
  if (fromPython !== null && fromPython !== undefined) return fromPython;
  const project = await readPython(context, 'pyproject.toml');
  return project === null ? null : (/^version\s*=\s*["']([^"']+)["']/m.exec(project)?.[1] ?? null);
}
