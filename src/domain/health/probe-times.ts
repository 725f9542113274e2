import type { ProbeResult } from './health.ts';

/** Names under which probes keep moments among their facts: `at`, `movedAt`, `headSince`. Epoch ms. */
const MOMENT = /(^at|At|Since)$/;

/** The same result after the wall clock was set: every moment in it is as long ago as it really is. */
export const movedResult = (result: ProbeResult, byMs: number): ProbeResult => ({
  ...result,
  at: result.at + byMs,
  ...(result.facts === undefined ? {} : { facts: moved(result.facts, byMs) as NonNullable<ProbeResult['facts']> }),
});

/** Whether there is any: what a probe keeps from one run to the next. */
export const hasMoments = (facts: ProbeResult['facts']): boolean =>
  facts !== undefined && JSON.stringify(moved(facts, 1)) !== JSON.stringify(facts);

function moved(value: unknown, byMs: number): unknown {
  if (Array.isArray(value)) return value.map((each) => moved(each, byMs));
  if (typeof value !== 'object' || value === null) return value;
  return Object.fromEntries(
    Object.entries(value).map(([name, each]) => [name, typeof each === 'number' && MOMENT.test(name) ? each + byMs : moved(each, byMs)]),
  );
}
