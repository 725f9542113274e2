import { posix } from 'node:path';
import type { Layout } from '../domain/config.ts';
import type { Files } from '../ports.ts';

/** Makes the directories of design section 4. State and sockets are for the owner only. */
export async function prepareRoot(files: Files, layout: Layout): Promise<void> {
  await files.ensureDirectory(layout.root);
  await files.ensureDirectory(layout.state, 0o700);
  await files.ensureDirectory(layout.run, 0o755);
  if (layout.socketFallback) await files.ensureDirectory(posix.dirname(layout.socket), 0o700);
  for (const directory of [
    layout.releases,
    layout.shared,
    layout.inputs,
    layout.outputs,
    layout.packState,
    layout.workflows,
    layout.instances,
    layout.cache,
    layout.logs,
  ]) {
    await files.ensureDirectory(directory);
  }
  // A models directory outside the root belongs to somebody else: it is used, not made.
  if (layout.models.startsWith(`${layout.root}/`)) await files.ensureDirectory(layout.models);
}
