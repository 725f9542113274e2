import type { Verdict } from '../../domain/faults/verdict.ts';
import type { CardVerdictFacts } from './card-input.ts';
import { cardMemoryKept } from './card-memory.ts';
import { cardMissing } from './card-missing.ts';
import { cardRecovery } from './card-recovery.ts';
import { cardSensors } from './card-sensors.ts';
import { cardWrong } from './card-wrong.ts';
import { cardXid } from './card-xid.ts';

/** With these the instance cannot use its card. */
export const cardFaults = (facts: CardVerdictFacts): Verdict[] =>
  [cardMissing, cardRecovery, cardXid, cardWrong].flatMap((source) => source(facts));

/** With most of these it serves on. */
export const cardTroubles = (facts: CardVerdictFacts): Verdict[] => [cardSensors, cardMemoryKept].flatMap((source) => source(facts));
