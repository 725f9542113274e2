import type { Layout } from '../../domain/configuration/config.ts';
import { witnessDirectory } from '../../plan/instances/launch.ts';
import type { Ports } from '../../ports.ts';

/** Puts the witness where instances find it (PYTHONPATH). */
export async function placeWitness({ assets, files }: Pick<Ports, 'assets' | 'files'>, layout: Layout): Promise<void> {
  const file = `${witnessDirectory(layout)}/sitecustomize.py`;
  const text = await assets.text('witness/sitecustomize.py');
  if ((await files.readText(file)) === text) return;
  await files.ensureDirectory(witnessDirectory(layout));
  await files.writeText(file, text, 0o644);
}
