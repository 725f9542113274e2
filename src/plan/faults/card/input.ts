import type { FaultKind, Verdict } from '../../../domain/faults/verdict.ts';
import type { DesiredInstance } from '../../../domain/instances/instance.ts';
import { toTime } from '../../../domain/observed.ts';
import type { VerdictFacts } from '../facts.ts';

/** The part of the facts of an instance by which its card is judged. */
export type CardVerdictFacts = Pick<VerdictFacts, 'config' | 'card' | 'queue' | 'probes' | 'now'> & {
  readonly instance: Pick<DesiredInstance, 'gpu' | 'visibleDevices'>;
};

/** What stands for this long was seen by two readings. Milliseconds. */
export const twoReadings = ({ config }: Pick<CardVerdictFacts, 'config'>): number => config.gpu.periodMs * 1.5;

/** Short for a verdict about a card. */
export function cardVerdict(
  fault: FaultKind,
  sinceMs: number,
  rest: Pick<Verdict, 'reason' | 'evidence' | 'blocksReady' | 'remedy' | 'next'> & { readonly dueAtMs?: number },
): Verdict {
  const { dueAtMs, ...told } = rest;
  return { fault, since: toTime(sinceMs), dueAt: dueAtMs === undefined ? null : toTime(dueAtMs), ...told };
}

export const cardName = ({ instance, card }: CardVerdictFacts): string =>
  `GPU ${instance.gpu}${card?.pciBusId === null || card === null ? '' : ` at ${card.pciBusId}`}`;

/** The instance did work on its card after that moment, by the canary. */
export function provedAfter({ probes }: CardVerdictFacts, at: number): boolean {
  const latest = probes.get('canary')?.latest;
  return latest?.outcome === 'pass' && latest.at - latest.durationMs > at;
}
