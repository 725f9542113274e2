import type { FoundFile, LogBounds, LogWatch, MemoryRoom, Space } from '../domain/upkeep/upkeep.ts';

/** Bounds for what grows. All calls reject with AgentError only. */
export interface Upkeep {
  /** Keeps logs within bounds until closed: what is full is copied to `<path>.1` and truncated, as its writer keeps it open. */
  keepLogs(bounds: () => LogBounds): LogWatch;
  /** null: nothing is there, or it does not answer. */
  space(path: string): Promise<Space | null>;
  /** @throws AgentError FILE_UNREADABLE */
  memory(): Promise<MemoryRoom>;
  /** Plain files below a directory; other filesystems and links are not entered. Nothing when it is itself a link. */
  walk(directory: string, signal: AbortSignal): AsyncIterable<FoundFile>;
  /** Removes a file that `walk` found, unless it, or a directory on the way to it, is another one now. @returns whether it went */
  removeFound(directory: string, file: FoundFile): Promise<boolean>;
  /** Removes directories below this one that are empty and older than the moment; never itself. */
  removeEmpty(directory: string, changedBefore: number): Promise<number>;
  /** CPU list (`0-15,32-47`) near the card; null: all are, or it is not known. */
  localCpus(uuid: string): Promise<string | null>;
}
