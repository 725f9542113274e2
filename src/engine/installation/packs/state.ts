import type { Layout } from '../../../domain/configuration/config.ts';
import { isAgentError } from '../../../domain/errors/errors.ts';
import type { PackStatus } from '../../../domain/installation/release.ts';
import { isInnerName, isInnerPath } from '../../../plan/text/inner-path.ts';
import { releaseDirectory } from '../../releases/releases.ts';
import { forEachLimited, type InstallContext, packDirectory, stateOf } from '../context.ts';
import { untrackedPaths } from './files.ts';

/**
 * Packs write into their own folders: downloads, databases, settings. What a pack wrote since its release was built is
 * moved to shared/pack-state/<pack> and linked back, in the old release and in the new one, so that a switch loses nothing.
 */
export async function keepPackState(context: InstallContext): Promise<void> {
  const { previous, layout, ports, spec, config } = context;
  // What is read of a release may be written by packs.
  const written = (previous?.packs ?? []).filter((pack) => pack.state !== 'failed' && isInnerName(pack.name));
  await forEachLimited(written, config.install.concurrency, (pack) =>
    orTold(context, pack.name, () => moveOut(context, layout, previous?.id ?? '', pack)),
  );
  for (const pack of spec.packs) {
    if (stateOf(context, pack.name) === 'failed') continue;
    const kept = `${layout.packState}/${pack.name}`;
    await orTold(context, pack.name, async () => {
      for (const path of await keptPaths(context, pack.name)) {
        const place = `${packDirectory(context, pack.name)}/${path}`;
        // A file that the pack's repository now brings itself wins over a stale copy.
        if ((await ports.files.exists(place)) || !(await ports.files.exists(`${kept}/${path}`))) continue;
        await ports.files.ensureDirectory(parent(place));
        await ports.files.link(`${kept}/${path}`, place);
      }
    });
  }
}

/** A pack that put a link where its state is to go keeps that to itself: the others install. */
async function orTold(context: InstallContext, pack: string, work: () => Promise<void>): Promise<void> {
  try {
    await work();
  } catch (error) {
    if (!isAgentError(error) || error.code !== 'FOREIGN_LINK') throw error;
    context.tracker.packWarning(pack, `what it wrote is not kept in shared/pack-state: ${error.message}; ${error.help}`);
  }
}

async function moveOut(context: InstallContext, layout: Layout, releaseId: string, pack: PackStatus): Promise<void> {
  const { files } = context.ports;
  const directory = `${releaseDirectory(layout, releaseId)}/ComfyUI/custom_nodes/${pack.name}`;
  if (!(await files.isDirectory(directory))) return;
  // Linked back where an earlier attempt ended between the move and the link.
  for (const path of await keptPaths(context, pack.name)) {
    const kept = `${layout.packState}/${pack.name}/${path}`;
    if ((await files.exists(kept)) && !(await files.exists(`${directory}/${path}`))) {
      await files.ensureDirectory(parent(`${directory}/${path}`));
      await files.link(kept, `${directory}/${path}`);
    }
  }
  const installed = new Set(pack.generated.map(withoutSlash));
  const added = await untrackedPaths(context.ports, directory);
  if (added === null) {
    context.tracker.packWarning(
      pack.name,
      `what it wrote into ${directory} is not kept: it is not known any more what was installed there`,
    );
    return;
  }
  const written = added.map(withoutSlash).filter((path) => !installed.has(path));
  for (const path of written) {
    const from = `${directory}/${path}`;
    const to = `${layout.packState}/${pack.name}/${path}`;
    if ((await files.readLink(from)) !== null) continue;
    // A file that was replaced, link and all (written beside and renamed), is newer than the kept one; a directory may be half of it.
    if ((await files.exists(to)) && ((await files.isDirectory(from)) || (await files.isDirectory(to)))) continue;
    await files.ensureDirectory(parent(to));
    // Noted first: what is moved and not noted would be lost to the pack, should the agent end in between.
    const kept = [...new Set([...(await keptPaths(context, pack.name)), path])].sort();
    await files.writeText(`${layout.packState}/${pack.name}/.kept`, `${kept.join('\n')}\n`);
    await files.move(from, to);
    await files.link(to, from);
    context.tracker.packWarning(pack.name, `${path}, written by the pack itself, is kept in shared/pack-state`);
  }
}

/** Paths that were moved out of the pack's folder, one a line in `.kept`. */
async function keptPaths(context: InstallContext, pack: string): Promise<readonly string[]> {
  const list = (await context.ports.files.readText(`${context.layout.packState}/${pack}/.kept`)) ?? '';
  // Packs may write there too.
  return list.split('\n').filter(isInnerPath);
}

const withoutSlash = (path: string): string => path.replace(/(?<!\/)\/+$/, '');
const parent = (path: string): string => path.slice(0, path.lastIndexOf('/'));
