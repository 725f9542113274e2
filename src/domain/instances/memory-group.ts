/** What the kernel counts for a memory cgroup. null: this kernel does not count it. */
export interface MemoryCounters {
  readonly group: string;
  readonly version: 1 | 2;
  /** Processes of the group that the OOM killer ended (`oom_kill`). */
  readonly oomKills: number | null;
  /** How often the limit was hit: memory.failcnt (v1), `max` of memory.events (v2). */
  readonly limitHits: number | null;
  /** null: no limit. */
  readonly limitBytes: number | null;
}

/** Counters of the memory cgroup of an instance, as they were at some looks. */
export interface MemoryWatch {
  readonly group: string;
  readonly samples: readonly { readonly at: number; readonly counters: MemoryCounters }[];
}
