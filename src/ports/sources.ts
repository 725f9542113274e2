import type { RegistryRequest, RegistryVersion } from '../domain/installation/registry.ts';
import type { GitOptions } from './git.ts';

/** Packs that do not come from git. Each call writes a whole tree at `directory` (must not exist) and records its files there. */
export interface Sources {
  /** @throws AgentError SOURCE_NOT_FOUND, SOURCE_UNREACHABLE */
  registryVersion(request: RegistryRequest, options?: GitOptions): Promise<RegistryVersion>;
  /**
   * Unpacks a zip; the one of a known digest comes from the cache.
   * @param request `url` may hold credentials, which go to its host only
   * @throws AgentError DIGEST_DIFFERS naming both digests, ARCHIVE_INVALID, SOURCE_REFUSED when it tries to leave its place
   */
  archive(
    request: { readonly url: string; readonly sha256: string | null },
    directory: string,
    options?: GitOptions,
  ): Promise<{ readonly sha256: string }>;
  /** The zip of that digest in the cache, fetched where it is not there. @returns its path. Same errors */
  archiveFile(request: { readonly url: string; readonly sha256: string }, options?: GitOptions): Promise<string>;
  /** Puts a zip into the cache under its digest, which the caller has verified. */
  adoptArchive(file: string, sha256: string): Promise<void>;
  /** Copies a directory, without `.git` and `__pycache__`. @returns the digest of all paths, modes and contents */
  directory(from: string, directory: string, options?: GitOptions): Promise<{ readonly sha256: string }>;
  /**
   * Files that are not as a source brought them, git among them, by what the agent noted then: nothing that lies in the directory
   * is asked. null: nothing is noted of it.
   */
  changed(directory: string): Promise<readonly string[] | null>;
  /** Paths that no source brought, directories collapsed with a slash, without .git and __pycache__. null: nothing is noted of it. */
  untracked(directory: string): Promise<readonly string[] | null>;
}
