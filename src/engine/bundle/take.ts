import { digestOf } from '../../domain/digest.ts';
import { AgentError } from '../../domain/errors.ts';
import type { Lock } from '../../domain/lock.ts';
import { bundleNeed, mebibytes } from '../../plan/disk.ts';
import type { LocalWheels, Ports } from '../../ports.ts';
import type { Knowledge } from '../knowledge.ts';
import type { OperationHandle } from '../operations.ts';
import { openBundle } from './open.ts';
import { placeBundle, requireFit } from './place.ts';
import { workDirectory } from './work-directory.ts';

/**
 * Verifies a bundle, takes it in, and runs `use` with its lock and its wheels, which are there until `use` ends.
 * @throws AgentError BUNDLE_INVALID, LOCK_DIFFERS: nothing was changed then
 */
export async function withBundle<T>(
  { ports, knowledge }: { readonly ports: Ports; readonly knowledge: Knowledge },
  handle: OperationHandle,
  file: string,
  use: (bundle: { readonly lock: Lock; readonly wheels: LocalWheels }) => Promise<T>,
): Promise<T> {
  const { files, clock } = ports;
  const directory = await workDirectory(files, knowledge.configuration.layout, digestOf([file, clock.now()]).slice(0, 16));
  await requireDisk(files, knowledge, file);
  try {
    handle.update({ message: `reading ${file}`, progress: 0 });
    const bundle = await openBundle(ports, file, directory, handle);
    await requireFit(ports, knowledge, bundle);
    const wheels = await placeBundle(ports, knowledge, bundle, handle);
    return await use({ lock: bundle.lock, wheels });
  } finally {
    await files.remove(directory);
  }
}

async function requireDisk(files: Ports['files'], { configuration: { config, layout } }: Knowledge, file: string): Promise<void> {
  const [bytes, free] = [await files.size(file), await files.freeBytes(layout.root)];
  if (bytes === null || free === null) return;
  const need = bundleNeed(bytes, config.install.minFreeDiskMb);
  if (free >= need.bytes) return;
  throw new AgentError('DISK_FULL', `${layout.root} has ${mebibytes(free)} free; ${need.because}`, {
    help: 'free space, move the root, lower releases.keep, or lower install.minFreeDiskMb',
    details: { freeBytes: free, neededBytes: need.bytes },
  });
}
