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
