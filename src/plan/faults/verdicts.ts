import type { Verdict } from '../../domain/faults/verdict.ts';
import { machineResourceVerdicts } from '../upkeep/resources.ts';
import { cardFaults, cardTroubles } from './card/card.ts';
import { crashLoop } from './crash-loop.ts';
import { cudaError, jobOutOfMemory } from './cuda.ts';
import { cudaUnavailable } from './cuda-unavailable.ts';
import { driverGone } from './driver-gone.ts';
import { exits } from './exits.ts';
import type { MachineVerdictFacts, VerdictFacts } from './facts.ts';
import { hang } from './hang.ts';
import { leftoverProcess } from './leftover-process.ts';
import { pm2Daemon } from './pm2.ts';
import { portTaken } from './port-taken.ts';
import { resourceVerdicts } from './resources.ts';
import { websocketGone } from './websocket.ts';
import { jobWithoutProgress, workerDead } from './worker.ts';

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
