import type { Verdict } from '../domain/verdict.ts';
import type { MachineVerdictFacts, VerdictFacts } from './verdict-facts.ts';
import { crashLoop } from './verdicts/crash-loop.ts';
import { cudaError, jobOutOfMemory } from './verdicts/cuda.ts';
import type { CardVerdictFacts } from './verdicts/card-input.ts';
import { cardMemoryKept } from './verdicts/card-memory.ts';
import { cardMissing } from './verdicts/card-missing.ts';
import { cardRecovery } from './verdicts/card-recovery.ts';
import { cardSensors } from './verdicts/card-sensors.ts';
import { cardWrong } from './verdicts/card-wrong.ts';
import { cardXid } from './verdicts/card-xid.ts';
import { driverGone } from './verdicts/driver-gone.ts';
import { hang } from './verdicts/hang.ts';
import { websocketGone } from './verdicts/websocket.ts';
import { jobWithoutProgress, workerDead } from './verdicts/worker.ts';

/**
 * Every fault that can be told of an instance: one pure function each, the worst first (the first verdict that asks for an
 * action gets it). Adding one: a file in `verdicts/` and a line here.
 */
const instanceSources: readonly ((facts: VerdictFacts) => readonly Verdict[])[] = [
  cardMissing,
  cardRecovery,
  cardXid,
  cardWrong,
  crashLoop,
  hang,
  workerDead,
  cudaError,
  jobWithoutProgress,
  websocketGone,
  jobOutOfMemory,
  cardSensors,
  cardMemoryKept,
];

/** The same for the machine as a whole. */
const machineSources: readonly ((facts: MachineVerdictFacts) => readonly Verdict[])[] = [driverGone];

/** Those of the card alone: all that can be told without an agent. */
const cardSources: readonly ((facts: CardVerdictFacts) => readonly Verdict[])[] = [
  cardMissing,
  cardRecovery,
  cardXid,
  cardWrong,
  cardSensors,
  cardMemoryKept,
];

export const cardVerdicts = (facts: CardVerdictFacts): Verdict[] => cardSources.flatMap((source) => source(facts));

export const instanceVerdicts = (facts: VerdictFacts): Verdict[] => instanceSources.flatMap((source) => source(facts));

export const machineVerdicts = (facts: MachineVerdictFacts): Verdict[] => machineSources.flatMap((source) => source(facts));
