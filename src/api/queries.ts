import { z } from 'zod';

/** Query parameters that several routes share. Text comes in, values come out. */

const yes = ['true', '1', ''] as const;
const no = ['false', '0'] as const;

/** `?follow`, `?follow=1`, `?follow=true` and their opposites. */
export const flag = (fallback: boolean, description: string) =>
  z
    .enum([...yes, ...no])
    .default(fallback ? 'true' : 'false')
    .transform((text) => (yes as readonly string[]).includes(text))
    .describe(description);

export const MAX_LINES = 10_000;

export const count = (fallback: number, max: number, description: string) =>
  z
    .string()
    .regex(/^\d{1,6}$/, 'a whole number')
    .default(String(fallback))
    .transform(Number)
    .pipe(z.int().min(0).max(max))
    .describe(`${description}; at most ${max}`);

/** ISO time or epoch milliseconds, to epoch milliseconds. */
export const moment = z
  .string()
  .max(40)
  .transform((text, context) => {
    const at = /^\d+$/.test(text) ? Number(text) : Date.parse(text);
    if (!Number.isFinite(at)) context.addIssue({ code: 'custom', message: 'an ISO time or epoch milliseconds' });
    return at;
  })
  .optional()
  .describe('only what is newer: ISO time or epoch milliseconds');

export const logQuery = {
  follow: flag(false, 'stay and send new lines as Server-Sent Events'),
  lines: count(200, MAX_LINES, 'how many of the newest lines first'),
  since: moment,
};
