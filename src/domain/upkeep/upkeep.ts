/** What the agent looks after so that a machine does not fill up: logs, space, memory, processors. */

export interface LogBounds {
  /** Paths of logs that other processes hold open for appending; one that is not there is waited for. */
  readonly logs: readonly string[];
  /** Size at which a log is begun anew. */
  readonly maxBytes: number;
  /** Older files kept of each: `<path>.1` is the newest. */
  readonly keepFiles: number;
}

export interface LogGrowth {
  /** Mean of the last five seconds. */
  readonly bytesPerSecond: number;
  /** Thrown away since the watch began, because more came than may be kept. */
  readonly cutBytes: number;
}

export interface LogWatch {
  /** null: not looked at long enough. */
  growth(path: string): LogGrowth | null;
  close(): Promise<void>;
}

/** How many files a filesystem can still take, where it has a fixed number of them. */
export interface Inodes {
  readonly free: number;
  readonly total: number;
}

/** "0 of 2500 inodes free" */
export const inodesText = ({ free, total }: Inodes): string => `${free} of ${total} inodes free`;

/** A filesystem, by a path on it. */
export interface Space {
  readonly freeBytes: number;
  readonly totalBytes: number;
  /** null where the filesystem has no fixed number of them. */
  readonly freeInodes: number | null;
  readonly totalInodes: number | null;
  /** The same for paths on one filesystem. */
  readonly device: string;
}

/** Memory that processes can still get; a cgroup's limit counts when it is nearer than the machine's end. */
export interface MemoryRoom {
  readonly availableBytes: number;
  readonly totalBytes: number;
  /** What sets the limit. */
  readonly limitedBy: 'machine' | 'cgroup';
}

/** A plain file below a directory that is cleaned, links not followed. */
export interface FoundFile {
  /** Relative to that directory. */
  readonly path: string;
  /** Disk use, not length. */
  readonly bytes: number;
  /** The later of its change of content and of name or mode. Epoch ms. */
  readonly changedAt: number;
  /** Tells apart a file that was put in its place since. */
  readonly inode: number;
}

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
