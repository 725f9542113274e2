import { z } from 'zod';

/** What was asked of the outside: known with its value, or unknown with the reason. Unknown is never "failed" and never "fine". */
export type Observed<T> =
  | { readonly known: true; readonly value: T }
  /** `help`: what to do about it, where that is known. */
  | { readonly known: false; readonly reason: string; readonly help?: string };

export const known = <T>(value: T): Observed<T> => ({ known: true, value });
export const unknown = (reason: string, help?: string): Observed<never> => ({
  known: false,
  reason,
  ...(help === undefined ? {} : { help }),
});

/** The reason of everything that the agent has not yet asked since it started: nothing is wrong with it. */
export const NOT_LOOKED_YET = 'not looked yet';

export const Time = z.iso.datetime();

/** Epoch milliseconds to the form used in every document. */
export const toTime = (epochMs: number): string => new Date(epochMs).toISOString();
