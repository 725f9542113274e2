import type { Verdict } from '../../../domain/faults/verdict.ts';
import { type CardVerdictFacts, cardName, cardVerdict, twoReadings } from './input.ts';

const RELEASE = 'the other instances go on; once the card is back and a canary has passed, the instance is released';

/** The card of the instance was there, and the driver does not list it any more, or lists it as lost. */
export function cardMissing(facts: CardVerdictFacts): readonly Verdict[] {
  const { card } = facts;
  if (card === null || !card.gpu.known) return [];
  const gpu = card.gpu.value;
  const words = card.words === null ? [] : [`nvidia-smi: ${card.words}`];
  if (gpu === null) {
    const since = card.since.gone ?? card.askedAt;
    return [
      cardVerdict('card-missing', since, {
        reason: `${cardName(facts)} is gone: the driver lists other cards and not ${card.uuid}`,
        evidence: words,
        blocksReady: true,
        remedy: 'quarantine',
        // One answer that leaves a card out is not enough to end its jobs.
        dueAtMs: since + twoReadings(facts),
        next: `look at \`dmesg | grep -i -e nvrm -e xid\`; the machine may have to be rebooted. ${RELEASE}`,
      }),
    ];
  }
  if (gpu.state !== 'lost') return [];
  return [
    cardVerdict('card-missing', card.since.unusable ?? card.askedAt, {
      reason: `${cardName(facts)} is lost: it is listed and answers nothing`,
      evidence: ['nvidia-smi: [GPU is lost]', ...words],
      blocksReady: true,
      remedy: 'quarantine',
      next: `the machine must be rebooted, or the card looked at. ${RELEASE}`,
    }),
  ];
}
