/** Packs that do not come from git: archives over HTTP, the Comfy Registry, directories of this machine. */
import { createHash, randomUUID } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { copyFile, mkdir, realpath, rename, rm, stat } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { AgentError, asAgentError } from '../../domain/errors/errors.ts';
import type { ForeignUser } from '../../domain/files/foreign.ts';
import { redactUrl } from '../../domain/installation/git-url.ts';
import type { GitOptions } from '../../ports/git.ts';
import type { Logger } from '../../ports/logs.ts';
import type { Sources } from '../../ports/sources.ts';
import { BESIDE, type Building, beginTree, finishTree } from '../files/building.ts';
import { createDownloader } from './download.ts';
import { fetchError } from './fetch-error.ts';
import { findRegistryVersion } from './registry.ts';
import { addedFiles, changedFiles, copyDirectory, type FileRecords, treeDigest, writeRecords } from './tree.ts';
import { unpackZip, ZIP_LIMITS, type ZipLimits } from './zip.ts';

export interface SourcesOptions {
  /** Of a directory only what this user may read is copied; null: whatever the agent may. */
  readonly foreign?: ForeignUser | null;
  /** What of a directory that user may not read, as the kernel says; null: nothing. */
  readonly firstUnreadable?: (directory: string, signal: AbortSignal | undefined) => Promise<string | null>;
  /** One file for each digest; may be deleted at any time. Only the agent may write there. */
  readonly cacheDirectory: string;
  /** Proxies and certificates are taken from here. */
  readonly environment: Readonly<Record<string, string>>;
  /** Where it is noted what was put in which place. Only the agent may write there. */
  readonly recordsDirectory: string;
  /** Where trees are made. */
  readonly building?: Building;
  /** A connection that is silent for this long is given up. */
  readonly timeoutMs: number;
  readonly maxArchiveBytes?: number;
  readonly limits?: ZipLimits;
  readonly log: Logger;
}

const MAX_ARCHIVE_BYTES = 2 * 1024 ** 3;
/** Progress is told after this much. */
const PROGRESS_BYTES = 1024 * 1024;

export function createSources(options: SourcesOptions): Sources {
  const {
    cacheDirectory,
    environment,
    timeoutMs,
    log,
    limits = ZIP_LIMITS,
    maxArchiveBytes = MAX_ARCHIVE_BYTES,
    building = BESIDE,
  } = options;
  const download = createDownloader({ environment, timeoutMs, log });
  const cached = (sha256: string): string => join(cacheDirectory, `${sha256}.zip`);

  /** @returns the digest of the archive, which then lies in the cache */
  const fetchArchive = async (url: string, sha256: string | null, call: GitOptions): Promise<string> => {
    const isCached = sha256 !== null && (await digestOf(cached(sha256))) === sha256;
    call.onCache?.(isCached);
    if (isCached) return sha256;
    await mkdir(cacheDirectory, { recursive: true });
    const shown = redactUrl(url);
    const file = join(cacheDirectory, `.${randomUUID()}.zip`);
    let told = 0;
    try {
      const found = await download
        .file({
          url,
          maxBytes: maxArchiveBytes,
          file,
          sha256: null,
          ...(call.signal ? { signal: call.signal } : {}),
          onProgress: ({ bytes, totalBytes }) => {
            if (bytes - told < PROGRESS_BYTES && bytes !== totalBytes) return;
            call.onProgress?.({
              stage: 'receiving the archive',
              fraction: totalBytes === null ? null : bytes / totalBytes,
              bytes: bytes - told,
            });
            told = bytes;
          },
        })
        .catch((error: unknown) => {
          throw fetchError(error, `there is no archive at ${shown}`);
        });
      if (sha256 !== null && found !== sha256)
        throw new AgentError('DIGEST_DIFFERS', `${shown} has sha256 ${found} in place of ${sha256}`, {
          details: { found, expected: sha256 },
        });
      await rename(file, cached(found));
      return found;
    } finally {
      await rm(file, { force: true });
    }
  };

  /** Put in its place when it is complete. */
  const build = async (directory: string, call: GitOptions, write: (unfinished: string) => Promise<FileRecords>): Promise<FileRecords> => {
    const unfinished = await beginTree(building, directory);
    try {
      await mkdir(unfinished);
      const records = await write(unfinished);
      call.signal?.throwIfAborted();
      await finishTree(building, unfinished, directory);
      await writeRecords(options.recordsDirectory, directory, records);
      return records;
    } catch (error) {
      await rm(unfinished, { recursive: true, force: true, maxRetries: 3 });
      if (call.signal?.aborted) throw new AgentError('INTERRUPTED', `fetching ${basename(directory)} was interrupted`);
      throw asAgentError(error);
    }
  };

  return {
    registryVersion: (request, { signal } = {}) => findRegistryVersion(download, request, signal),
    archive: async ({ url, sha256 }, directory, call = {}) => {
      const found = await fetchArchive(url, sha256, call);
      await build(directory, call, (unfinished) =>
        unpackZip(cached(found), unfinished, redactUrl(url), { limits, ...(call.signal ? { signal: call.signal } : {}) }),
      );
      return { sha256: found };
    },
    archiveFile: async ({ url, sha256 }, call = {}) => cached(await fetchArchive(url, sha256, call)),
    adoptArchive: async (file, sha256) => {
      await mkdir(cacheDirectory, { recursive: true });
      const partial = join(cacheDirectory, `.${randomUUID()}.zip`);
      try {
        await copyFile(file, partial);
        await rename(partial, cached(sha256));
      } catch (error) {
        throw asAgentError(error);
      } finally {
        await rm(partial, { force: true });
      }
    },
    directory: async (from, directory, call = {}) => {
      const facts = await stat(from).catch(() => null);
      if (!facts?.isDirectory()) throw new AgentError('SOURCE_NOT_FOUND', `there is no directory ${from}`);
      await mkdir(dirname(directory), { recursive: true });
      if (`${await realpath(dirname(directory))}/`.startsWith(`${await realpath(from)}/`))
        throw new AgentError('SOURCE_REFUSED', `the directory ${from} holds the place it would be copied to`);
      const unreadable = (await options.firstUnreadable?.(from, call.signal)) ?? null;
      if (unreadable !== null)
        throw new AgentError(
          'SOURCE_REFUSED',
          `the directory ${from} is refused: ${options.foreign?.name ?? 'the user'}, who runs ComfyUI, may not read ${unreadable}`,
        );
      return {
        sha256: treeDigest(await build(directory, call, (unfinished) => copyDirectory(from, unfinished, call.signal, options.foreign))),
      };
    },
    changed: (directory) => changedFiles(options.recordsDirectory, directory),
    untracked: (directory) => addedFiles(options.recordsDirectory, directory),
  };
}

async function digestOf(path: string): Promise<string | null> {
  const hash = createHash('sha256');
  try {
    await pipeline(createReadStream(path), hash);
    return hash.digest('hex');
  } catch {
    return null;
  }
}
