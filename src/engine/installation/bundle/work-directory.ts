import type { Layout } from '../../../domain/configuration/config.ts';
import type { Files } from '../../../ports/files.ts';

const PREFIX = 'bundle-';

/** A new place for the members of a bundle. What a killed agent left of an earlier one goes: there is one at a time. */
export async function workDirectory(files: Files, { cache }: Pick<Layout, 'cache'>, id: string): Promise<string> {
  const parent = `${cache}/tmp`;
  for (const name of await files.list(parent)) if (name.startsWith(PREFIX)) await files.remove(`${parent}/${name}`);
  return `${parent}/${PREFIX}${id}`;
}
