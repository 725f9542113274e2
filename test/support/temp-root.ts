import { mkdtemp, realpath, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

export interface TempRoot {
  readonly path: string;
  /** Joins a name to the path. */
  at(...names: string[]): string;
  remove(): Promise<void>;
}

/** A directory of the test's own, empty. To be removed in `afterEach`. */
export async function tempRoot(under = tmpdir()): Promise<TempRoot> {
  const path = await realpath(await mkdtemp(join(under, 'comfylet-test-')));
  return {
    path,
    at: (...names) => join(path, ...names),
    remove: () => rm(path, { recursive: true, force: true, maxRetries: 3 }),
  };
}
