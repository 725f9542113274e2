/** One end of one incarnation. */
export interface Exit {
  readonly at: number;
  readonly reason: string;
  /** Ended by us on purpose: does not count against the instance. */
  readonly wanted: boolean;
}

export interface RestartPolicy {
  readonly windowMs: number;
  readonly maxInWindow: number;
}

export interface RestartVerdict {
  readonly total: number;
  readonly inWindow: number;
  readonly lastReason: string | null;
  /** Set when the instance ended too often: PM2's own give-up rule never fires (reference pm2 4.1). */
  readonly quarantine: string | null;
}

/** Counts what PM2 does not: how often an instance ended by itself within the sliding window. */
export function judgeRestarts(exits: readonly Exit[], policy: RestartPolicy, now: number): RestartVerdict {
  const unwanted = exits.filter((exit) => !exit.wanted);
  const inWindow = unwanted.filter((exit) => now - exit.at <= policy.windowMs).length;
  const last = unwanted.at(-1);
  return {
    total: unwanted.length,
    inWindow,
    lastReason: last?.reason ?? null,
    quarantine:
      inWindow > policy.maxInWindow
        ? `ended ${inWindow} times in ${Math.round(policy.windowMs / 60_000)} minutes, last: ${last?.reason ?? 'unknown'}`
        : null,
  };
}

/** How the end of a process is told to people. */
export const exitReason = (exitCode: number | null, signal: string | null): string =>
  signal !== null ? `exit signal ${signal}` : exitCode === null ? 'exit, cause unknown' : `exit code ${exitCode}`;
