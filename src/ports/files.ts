import type { Instruction } from '../domain/files/foreign.ts';
import type { Inodes } from '../domain/upkeep/upkeep.ts';

export interface FileLock {
  release(): Promise<void>;
}

/** Files, directories and links. All writes are atomic (temporary name, fsync, rename). */
export interface Files {
  /** A plain file of the agent's own, at most 64 MiB; null: there is none. @throws AgentError FILE_UNREADABLE */
  readText(path: string): Promise<string | null>;
  /**
   * What ComfyUI, a pack or an archive may have made: a plain file that really lies inside `within`, of at most `maxBytes`,
   * and only what the user of ComfyUI may read. @throws AgentError INPUT_REFUSED with path and reason; FILE_UNREADABLE
   */
  readForeign(path: string, options: { readonly within: string; readonly maxBytes: number }): Promise<string | null>;
  /** sha256 in hex of such a file; null: there is none. Same errors */
  digestForeign(path: string, options: { readonly within: string; readonly maxBytes: number }): Promise<string | null>;
  /** What an operator wrote, and why it may be somebody else's. Links are followed; as plain and as bounded. Same errors. */
  readInstruction(path: string, options: { readonly maxBytes: number }): Promise<Instruction | null>;
  writeText(path: string, content: string, mode?: number): Promise<void>;
  exists(path: string): Promise<boolean>;
  isDirectory(path: string): Promise<boolean>;
  size(path: string): Promise<number | null>;
  modifiedAt(path: string): Promise<number | null>;
  list(directory: string): Promise<readonly string[]>;
  ensureDirectory(path: string, mode?: number): Promise<void>;
  remove(path: string): Promise<void>;
  /** To another filesystem too; onto a file or an empty directory, never onto a full one. Cut anywhere, it can be repeated. */
  move(from: string, to: string): Promise<void>;
  /** Copies a tree, links as links; existing files are kept when `overwrite` is false. */
  copyTree(from: string, to: string, options?: { readonly overwrite: boolean }): Promise<void>;
  /** Makes or atomically replaces a symlink. Refuses (returns false) when something that is no link is in the way. */
  link(target: string, path: string): Promise<boolean>;
  readLink(path: string): Promise<string | null>;
  realPath(path: string): Promise<string | null>;
  /** sha256 in hex. */
  digest(path: string, signal?: AbortSignal): Promise<string>;
  freeBytes(path: string): Promise<number | null>;
  /** null: nothing is there, or its filesystem makes as many as it needs. */
  inodes(path: string): Promise<Inodes | null>;
  /** Bytes below a directory, links not followed. */
  treeSize(path: string): Promise<number>;
  /** The same, and how much of it is in no other place (files with one name only): what its removal would free. */
  treeUsage(path: string): Promise<{ readonly bytes: number; readonly ownBytes: number }>;
  /** Another text whenever anything below the directory was added, removed, renamed or written, also when its content is the same. */
  treeStamp(path: string): Promise<string>;
  /** Takes the lock or tells who has it: the lock dies with its process. @throws AgentError ROOT_LOCKED */
  lock(path: string, owner: string): Promise<FileLock>;
  appendLine(path: string, line: string): Promise<void>;
  /** The last `lines` lines, then (when following) each new one; survives truncation and rename. */
  tail(path: string, options: { readonly lines: number; readonly follow: boolean }, signal: AbortSignal): AsyncIterable<string>;
  /**
   * Bytes from `offset` on, as text, at most `limit` of them; a negative offset counts from the end. `next` is where to go on,
   * `size` the length of the file now: smaller than an offset of before when it was truncated. null when there is none.
   */
  readPart(
    path: string,
    offset: number,
    limit: number,
  ): Promise<{ readonly text: string; readonly next: number; readonly size: number } | null>;
  /** Calls back (debounced) when one of the files is written, made or removed. */
  watch(paths: readonly string[], onChange: (path: string) => void): Promise<{ close(): Promise<void> }>;
}

/** Files that ship with the program: the simulator, the status page, the API reference, graphs, host keys. */
export interface Assets {
  text(name: string): Promise<string>;
  bytes(name: string): Promise<Uint8Array>;
  /** Directory on disk that holds the simulator's source. */
  simulator(): Promise<string>;
}
