import type { Config } from '../../domain/configuration/config.ts';

/** One end of one incarnation. */
export interface Exit {
  readonly at: number;
  readonly reason: string;
  /** Ended by us on purpose: does not count against the instance. */
  readonly wanted: boolean;
  /** Of an end by the agent because of a fault. */
  readonly fault?: string;
}

export interface RestartPolicy {
  readonly windowMs: number;
  readonly maxInWindow: number;
  readonly backOff: { readonly afterExits: number; readonly initialMs: number; readonly maxMs: number };
}

export interface RestartVerdict {
  readonly total: number;
  readonly inWindow: number;
  readonly lastReason: string | null;
  /** First end in the window. Epoch ms; null: none. */
  readonly since: number | null;
  /** Set when the instance ended too often: PM2's own give-up rule never fires (reference pm2 4.1). */
  readonly quarantine: string | null;
  /** It is not started before this moment. PM2 would start it after a fraction of a second. Epoch ms; null: at once. */
  readonly backOffUntil: number | null;
  /** One more end is followed by a pause. */
  readonly nextBacksOff: boolean;
}

export const restartPolicy = ({ health }: Config): RestartPolicy => ({
  windowMs: health.restartWindowMs,
  maxInWindow: health.maxRestartsInWindow,
  backOff: health.backOff,
});

/** Counts what PM2 does not: how often an instance ended by itself, or was ended because of a fault, within the sliding window. */
export function judgeRestarts(exits: readonly Exit[], policy: RestartPolicy, now: number): RestartVerdict {
  const unwanted = exits.filter((exit) => !exit.wanted);
  // What came before a recount lies at 0.
  const recent = unwanted.filter((exit) => exit.at > 0 && now - exit.at <= policy.windowMs);
  const inWindow = recent.length;
  const last = unwanted.at(-1);
  const { afterExits, initialMs, maxMs } = policy.backOff;
  const pauseMs = inWindow > afterExits ? Math.min(maxMs, initialMs * 2 ** (inWindow - afterExits - 1)) : 0;
  const until = Math.max(0, ...recent.map((exit) => exit.at)) + pauseMs;
  return {
    total: unwanted.length,
    inWindow,
    lastReason: last?.reason ?? null,
    since: inWindow === 0 ? null : Math.min(...recent.map((exit) => exit.at)),
    quarantine: inWindow > policy.maxInWindow ? describeExits(inWindow, policy.windowMs, last?.reason ?? null) : null,
    backOffUntil: pauseMs > 0 && until > now ? until : null,
    nextBacksOff: inWindow + 1 > afterExits,
  };
}

export const describeExits = (count: number, windowMs: number, lastReason: string | null): string =>
  `ended ${count} times in ${Math.round(windowMs / 60_000)} minutes, last: ${lastReason ?? 'unknown'}`;

/** How the end of a process is told to people. */
export const exitReason = (exitCode: number | null, signal: string | null): string =>
  signal !== null ? `exit signal ${signal}` : exitCode === null ? 'exit, cause unknown' : `exit code ${exitCode}`;
