import { cp } from 'node:fs/promises';
import { resolve } from 'node:path';
import { createOrigin, type Origin } from '../git/origin.ts';

const SIMULATOR = resolve(import.meta.dirname, '../../../simulator');

/** A git repository that holds the simulator as somebody's ComfyUI. */
export async function createSimulatorOrigin(directory: string): Promise<Origin> {
  const origin = await createOrigin(directory);
  await cp(SIMULATOR, directory, { recursive: true, filter: (path) => !path.endsWith('__pycache__') });
  await origin.commit({});
  return origin;
}
