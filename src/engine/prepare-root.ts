import { posix } from 'node:path';
import type { Config, Layout } from '../domain/config.ts';
import type { Files } from '../ports.ts';

/** A root on vfat or some network filesystems would fail at the end of an installation. @throws AgentError ROOT_UNSUITABLE */
async function requireLinks(files: Files, root: string): Promise<void> {
  const trial = `${root}/.agent-link`;
  await files.link('nowhere', trial);
  await files.remove(trial);
}

/** Makes the directories of design section 4. State and sockets are for the owner only. */
export async function prepareRoot(files: Files, layout: Layout, users: Config['users']): Promise<void> {
  const closed = users.comfyui === null ? undefined : 0o2755;
  await files.ensureDirectory(layout.root);
  if ((await files.readLink(layout.current)) === null) await requireLinks(files, layout.root);
  // What is obeyed lies at the top of shared/ and in workflows/: another user who runs ComfyUI puts nothing there, and nothing
  // in the place of what lies below.
  for (const directory of [layout.shared, layout.workflows]) await files.ensureDirectory(directory, closed);
  await files.ensureDirectory(layout.state, 0o700);
  await files.ensureDirectory(layout.run, 0o755);
  if (layout.socketFallback) await files.ensureDirectory(posix.dirname(layout.socket), 0o700);
  for (const directory of [layout.releases, layout.inputs, layout.outputs, layout.packState, layout.instances, layout.cache]) {
    await files.ensureDirectory(directory);
  }
  // Where another user runs ComfyUI that one puts nothing in the place of a log. New logs have the group of the root.
  await files.ensureDirectory(layout.logs, closed);
  // At the top of the root, where that user moves nothing: a directory below the cache could be exchanged for another one.
  if (users.comfyui !== null) await files.ensureDirectory(layout.closed, 0o700);
  // A models directory outside the root belongs to somebody else: it is used, not made.
  if (layout.models.startsWith(`${layout.root}/`)) await files.ensureDirectory(layout.models);
}
