import type { Lock } from '../../../domain/installation/lock.ts';
import { digestOf } from '../../../domain/text/digest.ts';
import { bundleNeed } from '../../../plan/upkeep/disk.ts';
import type { LocalWheels } from '../../../ports/python.ts';
import type { Ports } from '../../../ports.ts';
import type { Knowledge } from '../../knowledge.ts';
import type { OperationHandle } from '../../operations.ts';
import { requireRoom } from '../disk-room.ts';
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
  const bytes = await files.size(file);
  if (bytes !== null) await requireRoom(files, layout.root, bundleNeed(bytes, config.install.minFreeDiskMb));
}
