import { asAgentError } from '../../../domain/errors/errors.ts';
import type { PackSpec } from '../../../domain/installation/release.ts';
import { packAdvisory } from '../../../plan/installation/advisories.ts';
import { forEachLimited, type InstallContext, packDirectory } from '../context.ts';
import { fetchTree, refuseUnlessWaived } from './source.ts';

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

/** What came is put on the pack's status as `source`. */
async function fetchPack(context: InstallContext, pack: PackSpec): Promise<void> {
  const { ports, tracker, signal } = context;
  const directory = packDirectory(context, pack.name);
  tracker.pack(pack.name, { state: 'fetching' });
  try {
    const advisory = packAdvisory(pack);
    if (advisory !== null) refuseUnlessWaived(context, pack, advisory);
    if (await ports.files.exists(directory))
      throw new Error(`custom_nodes/${pack.name} is part of ComfyUI itself; give the pack another name`);
    const source = await fetchTree(context, pack);
    tracker.pack(pack.name, { state: 'fetched', commit: source.kind === 'git' ? source.commit : null, source });
  } catch (thrown) {
    signal.throwIfAborted();
    const error = asAgentError(thrown);
    // A full disk is everybody's failure.
    if (error.code === 'DISK_FULL') throw error;
    await ports.files.remove(directory);
    tracker.pack(pack.name, { state: 'failed', error: `${error.message}; ${error.help}` });
  }
}
