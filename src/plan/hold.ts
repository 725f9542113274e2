import type { Hold, HoldCode } from '../domain/hold.ts';
import type { Target } from '../domain/identity.ts';

/** A hold before it is known since when it stands: the engine keeps the time of its first appearance. */
export type NewHold = Omit<Hold, 'since'>;

export const hold = (target: Target, code: HoldCode, reason: string, help: string): NewHold => ({ target, code, reason, help });

/** Keeps `since` of holds that already stood (same target and code), so that people see how long. */
export function datedHolds(holds: readonly NewHold[], before: readonly Hold[], nowTime: string): Hold[] {
  return holds.map((fresh) => {
    const old = before.find((candidate) => candidate.target === fresh.target && candidate.code === fresh.code);
    return { ...fresh, since: old?.since ?? nowTime };
  });
}
