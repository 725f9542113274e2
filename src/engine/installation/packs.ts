import { asAgentError } from '../../domain/errors.ts';
import type { PackSpec } from '../../domain/release.ts';
import { forEachLimited, type InstallContext, packDirectory } from './context.ts';
import { isCommit, lockedGit } from './lock.ts';

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
    const fetched = await ports.git.checkout({ url: pack.url, ...wanted(context, pack) }, directory, {
      recursive: pack.recursive,
      signal,
      onProgress: ({ stage, fraction, bytes }) => {
        tracker.bytes(bytes);
        tracker.line(`${pack.name}: ${stage}${fraction === null ? '' : ` ${Math.round(fraction * 100)} %`}`);
      },
    });
    tracker.pack(pack.name, {
      state: 'fetched',
      commit: fetched.commit,
      source: lockedGit(pack.url, fetched, context.pins.packs.get(pack.name)),
    });
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

/** Where the lock has it; else what `agent update --pack NAME@REF` names for this once; else what its entry asks for. */
function wanted({ pins, moves }: InstallContext, pack: PackSpec): { readonly branch: string | null; readonly commit: string | null } {
  const pin = pins.packs.get(pack.name);
  if (pin?.kind === 'git') return { branch: pack.branch, commit: pin.commit };
  const ref = moves.packs[pack.name] ?? null;
  if (ref === null) return pack;
  return isCommit(ref) ? { branch: pack.branch, commit: ref } : { branch: ref, commit: null };
}
