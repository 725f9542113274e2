import type { LockedSubmodule } from '../../domain/installation/lock.ts';

/** What the submodules add to the facts of a work tree; paths are relative to the outermost one. */
export interface SubmoduleFacts {
  readonly submodules: readonly LockedSubmodule[];
  readonly lfsPointers: readonly string[];
  readonly warnings: readonly string[];
}
