import type { Verdict } from '../../../domain/faults/verdict.ts';
import type { CardVerdictFacts } from './input.ts';
import { cardMemoryKept } from './memory.ts';
import { cardMissing } from './missing.ts';
import { cardRecovery } from './recovery.ts';
import { cardSensors } from './sensors.ts';
import { cardWrong } from './wrong.ts';
import { cardXid } from './xid.ts';

/** With these the instance cannot use its card. */
export const cardFaults = (facts: CardVerdictFacts): Verdict[] =>
  [cardMissing, cardRecovery, cardXid, cardWrong].flatMap((source) => source(facts));

/** With most of these it serves on. */
export const cardTroubles = (facts: CardVerdictFacts): Verdict[] => [cardSensors, cardMemoryKept].flatMap((source) => source(facts));
