import { asAgentError } from '../../domain/errors.ts';
import type { PackSpec } from '../../domain/release.ts';
import { forEachLimited, type InstallContext, packDirectory } from './context.ts';

/** Brings all packs in, side by side. A pack that fails is recorded on that pack; the others go on. */
export async function fetchPacks(context: InstallContext): Promise<void> {
  const { spec, config, tracker } = context;
  let done = 0;
  await forEachLimited(spec.packs, config.install.concurrency, async (pack) => {
    await fetchPack(context, pack);
    done += 1;
    tracker.fraction(done / spec.packs.length);
  });
}

async function fetchPack(context: InstallContext, pack: PackSpec): Promise<void> {
  const { ports, tracker, signal } = context;
  const directory = packDirectory(context, pack.name);
  tracker.pack(pack.name, { state: 'fetching' });
  try {
    if (await ports.files.exists(directory))
      throw new Error(`custom_nodes/${pack.name} is part of ComfyUI itself; give the pack another name`);
    const fetched = await ports.git.checkout(
      { url: pack.url, branch: pack.branch, commit: keptCommit(context, pack) ?? pack.commit },
      directory,
      {
        recursive: pack.recursive,
        signal,
        onProgress: ({ stage, fraction, bytes }) => {
          tracker.bytes(bytes);
          tracker.line(`${pack.name}: ${stage}${fraction === null ? '' : ` ${Math.round(fraction * 100)} %`}`);
        },
      },
    );
    tracker.pack(pack.name, { state: 'fetched', commit: fetched.commit });
    if (fetched.lfsPointers.length > 0) {
      tracker.packWarning(pack.name, `${fetched.lfsPointers.length} Git LFS files were not fetched, first: ${fetched.lfsPointers[0]}`);
    }
  } catch (thrown) {
    signal.throwIfAborted();
    const error = asAgentError(thrown);
    // A full disk is everybody's failure.
    if (error.code === 'DISK_FULL') throw error;
    await ports.files.remove(directory);
    tracker.pack(pack.name, { state: 'failed', error: `${error.message}; ${error.help}` });
  }
}

/** As for ComfyUI itself: a pack moves only when its entry changes or a new release is asked for. */
function keptCommit(context: InstallContext, pack: PackSpec): string | null {
  if (context.fresh || pack.commit !== null) return null;
  const before = context.previous?.spec.packs.find((candidate) => candidate.name === pack.name);
  const status = context.previous?.packs.find((candidate) => candidate.name === pack.name);
  if (before === undefined || status === undefined || before.url !== pack.url || before.branch !== pack.branch || before.commit !== null)
    return null;
  return status.commit;
}
