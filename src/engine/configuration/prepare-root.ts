import { posix } from 'node:path';
import type { Config, Layout } from '../../domain/configuration/config.ts';
import { asAgentError } from '../../domain/errors/errors.ts';
import { isOfTheDisk } from '../../domain/errors/no-room.ts';
import type { Files } from '../../ports/files.ts';

/** A root on vfat or some network filesystems would fail at the end of an installation. @throws AgentError ROOT_UNSUITABLE */
async function requireLinks(files: Files, root: string): Promise<void> {
  const trial = `${root}/.agent-link`;
  await files.link('nowhere', trial);
  await files.remove(trial);
}

/**
 * Makes the directories of design section 4. State and sockets are for the owner only. One that the disk does not take keeps
 * none of the others from being made. @throws AgentError the first fault, when all was tried; at once where it is not the disk's
 */
export async function prepareRoot(files: Files, layout: Layout, users: Config['users']): Promise<void> {
  const faults: unknown[] = [];
  for (const step of stepsOf(files, layout, users)) {
    await step().catch((error: unknown) => {
      // Below one that could not be made there is nothing to be made either.
      if (faults.length === 0 && !isOfTheDisk(asAgentError(error))) throw error;
      faults.push(error);
    });
  }
  if (faults.length > 0) throw faults[0];
}

/** Whether the directories are there, and the way to make them again. */
export interface PreparedRoot {
  isPrepared(): boolean;
  prepare(): Promise<void>;
}

/** The same for an agent that starts on a full disk: what is missing can be made later. @throws AgentError as `prepareRoot`, but not for the disk */
export async function prepareWhatFits(files: Files, layout: Layout, users: Config['users']): Promise<PreparedRoot> {
  let isPrepared = false;
  const prepare = async (): Promise<void> => {
    await prepareRoot(files, layout, users);
    isPrepared = true;
  };
  await prepare().catch((error: unknown) => {
    if (!isOfTheDisk(asAgentError(error))) throw error;
  });
  return { isPrepared: () => isPrepared, prepare };
}

function stepsOf(files: Files, layout: Layout, users: Config['users']): readonly (() => Promise<void>)[] {
  const closed = users.comfyui === null ? undefined : 0o2755;
  const directory = (path: string, mode?: number) => () => files.ensureDirectory(path, mode);
  return [
    directory(layout.root),
    async () => {
      if ((await files.readLink(layout.current)) === null) await requireLinks(files, layout.root);
    },
    // What is obeyed lies at the top of shared/ and in workflows/: another user who runs ComfyUI puts nothing there, and nothing
    // in the place of what lies below.
    directory(layout.shared, closed),
    directory(layout.workflows, closed),
    directory(layout.state, 0o700),
    directory(layout.run, 0o755),
    ...(layout.socketFallback ? [directory(posix.dirname(layout.socket), 0o700)] : []),
    directory(layout.releases),
    directory(layout.inputs),
    directory(layout.outputs),
    directory(layout.packState),
    directory(layout.instances),
    directory(layout.cache),
    // Where another user runs ComfyUI that one puts nothing in the place of a log. New logs have the group of the root.
    directory(layout.logs, closed),
    // At the top of the root, where that user moves nothing: a directory below the cache could be exchanged for another one.
    directory(layout.closed, 0o700),
    directory(layout.records, 0o700),
    // A models directory outside the root belongs to somebody else: it is used, not made.
    ...(layout.models.startsWith(`${layout.root}/`) ? [directory(layout.models)] : []),
  ];
}
