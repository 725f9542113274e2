import type { Verdict } from '../domain/faults/verdict.ts';
import { machineResourceVerdicts } from './machine-resources.ts';
import type { MachineVerdictFacts, VerdictFacts } from './verdict-facts.ts';
import { cardFaults, cardTroubles } from './verdicts/card.ts';
import { crashLoop } from './verdicts/crash-loop.ts';
import { cudaError, jobOutOfMemory } from './verdicts/cuda.ts';
import { cudaUnavailable } from './verdicts/cuda-unavailable.ts';
import { driverGone } from './verdicts/driver-gone.ts';
import { exits } from './verdicts/exits.ts';
import { hang } from './verdicts/hang.ts';
import { leftoverProcess } from './verdicts/leftover-process.ts';
import { pm2Daemon } from './verdicts/pm2.ts';
import { portTaken } from './verdicts/port-taken.ts';
import { resourceVerdicts } from './verdicts/resources.ts';
import { websocketGone } from './verdicts/websocket.ts';
import { jobWithoutProgress, workerDead } from './verdicts/worker.ts';

/**
 * Every fault that can be told of an instance: one pure function each, the worst first (the first verdict that asks for an
 * action gets it). Adding one: a file in `verdicts/` and a line here.
 */
const instanceSources: readonly ((facts: VerdictFacts) => readonly Verdict[])[] = [
  cardFaults,
  crashLoop,
  leftoverProcess,
  portTaken,
  hang,
  workerDead,
  cudaError,
  jobWithoutProgress,
  websocketGone,
  jobOutOfMemory,
  cardTroubles,
  exits,
  resourceVerdicts,
];

/** The same for the machine as a whole. */
const machineSources: readonly ((facts: MachineVerdictFacts) => readonly Verdict[])[] = [
  driverGone,
  cudaUnavailable,
  pm2Daemon,
  machineResourceVerdicts,
];

export const instanceVerdicts = (facts: VerdictFacts): Verdict[] => instanceSources.flatMap((source) => source(facts));

export const machineVerdicts = (facts: MachineVerdictFacts): Verdict[] => machineSources.flatMap((source) => source(facts));
