import type { LockedSubmodule } from '../domain/installation/lock.ts';

export interface GitSource {
  readonly url: string;
  readonly branch: string | null;
  readonly commit: string | null;
}

export interface GitCheckout {
  readonly commit: string;
  /** The branch or tag that was resolved; null for a bare commit. */
  readonly branch: string | null;
  readonly commitDate: string | null;
  /** Of all depths, by path; empty when submodules were not asked for. */
  readonly submodules: readonly LockedSubmodule[];
  /** Paths of Git LFS pointer files that were not fetched. */
  readonly lfsPointers: readonly string[];
  /** What is left out of the work tree and why, in words. */
  readonly warnings: readonly string[];
}

export interface GitProgress {
  readonly stage: string;
  /** 0..1 where git tells. */
  readonly fraction: number | null;
  readonly bytes: number;
}

export interface GitOptions {
  readonly signal?: AbortSignal;
  /** Told once for each repository or archive: whether all of it lay in the cache. */
  readonly onCache?: (isCached: boolean) => void;
  readonly onProgress?: (progress: GitProgress) => void;
}

/**
 * git, hermetic: no user or system configuration, no prompt ever, SSH with strict host keys. Objects are shared through
 * a mirror per URL under the cache.
 */
export interface Git {
  /** Commit the source names now (asks the remote unless a full commit is named and already mirrored). */
  resolve(source: GitSource, options?: GitOptions): Promise<{ readonly commit: string; readonly branch: string | null }>;
  /** Fetches into the mirror and writes a full work tree of `commit` at `directory` (must not exist). */
  checkout(
    source: GitSource,
    directory: string,
    options: GitOptions & {
      readonly recursive: boolean;
      /** Git LFS pointers are replaced by their files; default false. */
      readonly lfs?: boolean;
    },
  ): Promise<GitCheckout>;
  /**
   * Brings a work tree in place to the head of the branch: init, fetch, checkout; never clean, never reset. `closed`: others may
   * not write what is obeyed.
   * @throws AgentError SHARED_REPOSITORY_DIRTY when a tracked file was changed or an untracked one is in the way
   */
  updateInPlace(source: GitSource, directory: string, options?: GitOptions & { readonly closed?: boolean }): Promise<GitCheckout>;
  /**
   * Writes the history of these commits of one repository into a git bundle; what the mirror lacks is fetched.
   * @param url may hold credentials, as everywhere
   */
  createBundle(url: string, commits: readonly string[], file: string, options?: GitOptions): Promise<void>;
  /**
   * Puts the commits of a git bundle into the mirror of that URL, so that a checkout of them asks nobody.
   * @throws AgentError BUNDLE_INVALID when the file is damaged or lacks one of the commits
   */
  importBundle(url: string, commits: readonly string[], file: string, options?: GitOptions): Promise<void>;
  /** Version of the git program. @throws AgentError GIT_MISSING */
  version(): Promise<string>;
}
