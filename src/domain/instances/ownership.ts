import { z } from 'zod';
import type { Observed } from '../observed.ts';
import type { ExitEvidence } from './exit-evidence.ts';
import { Incarnation, type PortHolder } from './instance.ts';

/** A process as the kernel shows it: which one it is, and the variables that were asked for, read while it was that one. */
export interface ProcessIdentity {
  readonly incarnation: Incarnation;
  /** Only those that are set. */
  readonly environment: Readonly<Record<string, string>>;
}

/** Variables that every instance carries, and hands on to whatever it starts: root and name of the instance. */
export const ROOT_MARK = 'AGENT_ROOT';
export const INSTANCE_MARK = 'AGENT_INSTANCE';
/** The PM2 daemon's: its home. */
export const PM2_HOME_MARK = 'PM2_HOME';

/**
 * Who a process is to us. `gone`: there is no process of that pid, or it is another one by now (a pid that was used again).
 * `cannot-tell`: it is there and may not be looked at; such a process is never signalled, and neither is a stranger.
 */
export type Ownership = 'ours' | 'stranger' | 'cannot-tell' | 'gone';

/** How one of ours is known. */
export interface Claim {
  /** The process must still be this one; null: whichever has the pid. */
  readonly startTicks: string | null;
  /** By variable, the values that make it ours; all of them must fit. At least one. */
  readonly marks: Readonly<Record<string, readonly string[]>>;
}

/**
 * The one judgement on whether a process may be signalled: pid, start time and our mark in its environment. Neither a port,
 * a command line nor a pid alone ever make a process ours. Pure.
 */
export function judgeOwnership(seen: Observed<ProcessIdentity | null>, claim: Claim): Ownership {
  if (!seen.known) return 'cannot-tell';
  if (seen.value === null) return 'gone';
  const { incarnation, environment } = seen.value;
  if (claim.startTicks !== null && incarnation.startTicks !== claim.startTicks) return 'gone';
  const marks = Object.entries(claim.marks);
  const isMarked =
    marks.length > 0 && marks.every(([name, values]) => values.includes(environment[name] ?? '') && environment[name] !== '');
  return isMarked ? 'ours' : 'stranger';
}

/** A process of an instance that nobody hosts: what a killed PM2 daemon, agent or python leaves. */
export const LeftProcess = z.object({ incarnation: Incarnation, command: z.string().nullable() });
export type LeftProcess = z.infer<typeof LeftProcess>;

/** All that is left of one instance. */
export interface Leftover {
  readonly name: string;
  readonly processes: readonly LeftProcess[];
  /** The one that listens on the port of the instance: it may have jobs. */
  readonly serving: Incarnation | null;
  /** Its jobs; null: it does not tell. */
  readonly jobs: number | null;
  /** When it was found. Epoch ms. */
  readonly since: number;
  /** Since when one that serves does not tell of its jobs; null: it does, or it serves nothing. Epoch ms. */
  readonly silentSince: number | null;
}

/** What ownership has to tell of one instance, for its verdicts. */
/** A process that is not ours on the port of an instance. */
export interface Stranger {
  readonly holder: PortHolder;
  /** Epoch ms. */
  readonly since: number;
}

export interface OwnerFacts {
  readonly leftover: Leftover | null;
  readonly lastExit: ExitEvidence | null;
  /** Who has the port of an instance that has no process. */
  readonly stranger: Stranger | null;
}

/** Whether PM2's daemon can be asked: `gone` refuses connections, `deaf` takes them and answers nothing. */
export interface Pm2State {
  readonly state: 'answers' | 'gone' | 'deaf';
  /** Epoch ms. */
  readonly since: number;
  readonly reason: string | null;
}
