import { checkoutOf, type InstallContext } from './context.ts';
import { keepPackState } from './packs/state.ts';

/**
 * A release is immutable, so everything that grows lies outside and is linked in: models, input, output, user, and what
 * packs wrote into their own folders.
 */
export async function linkSharedFolders(context: InstallContext): Promise<void> {
  const { layout, ports } = context;
  const { files } = ports;
  const checkout = checkoutOf(context);
  const links: readonly (readonly [name: string, target: string])[] = [
    ['models', layout.models],
    ['input', layout.inputs],
    ['output', layout.outputs],
    ['user', `${layout.instances}/user`],
  ];
  for (const [name, target] of links) {
    const path = `${checkout}/${name}`;
    await files.ensureDirectory(target);
    // The tree ships files there (model configs, an example picture) that ComfyUI reads.
    if (await files.isDirectory(path)) await files.copyTree(path, target, { overwrite: false });
    await files.remove(path);
    if (!(await files.link(target, path))) throw new Error(`${path} could not be made a link`);
  }
  await keepPackState(context);
}
