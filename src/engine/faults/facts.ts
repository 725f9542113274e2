import type { DesiredInstance } from '../../domain/instances/instance.ts';
import { known, NOT_LOOKED_YET, unknown } from '../../domain/observed.ts';
import { driverTrouble } from '../../plan/faults/driver-gone.ts';
import type { MachineVerdictFacts, VerdictFacts } from '../../plan/faults/facts.ts';
import { currentRecords } from '../../plan/health/assess.ts';
import type { DriverGone } from '../../plan/instances/driver-hold.ts';
import { lastWords } from '../../plan/instances/last-words.ts';
import { cardFactsOf } from '../cards/watch.ts';
import { ownerFacts } from '../instances/owner-facts.ts';
import type { Knowledge } from '../knowledge.ts';

/** What is known of one instance, for its verdicts. */
export function verdictFacts(knowledge: Knowledge, instance: DesiredInstance, now: number): VerdictFacts {
  const { observed, configuration } = knowledge;
  const processes = observed?.processes ?? unknown(NOT_LOOKED_YET);
  const process = processes.known ? known(processes.value.find(({ name }) => name === instance.name) ?? null) : processes;
  const incarnation = observed?.incarnations.get(instance.name) ?? known(null);
  const record = knowledge.instances.of(instance.gpu);
  const probes = currentRecords(record.probes, incarnation.known ? incarnation.value : null);
  const { running, pending } = probes.get('http')?.latest.facts ?? {};
  return {
    config: configuration.config,
    instance,
    process,
    incarnation,
    probes,
    exits: record.exits,
    owner: ownerFacts(knowledge, instance),
    queue: typeof running === 'number' && typeof pending === 'number' ? { running, pending } : null,
    startMovedAt: record.log?.movedAt ?? null,
    card: cardFactsOf(knowledge, instance, incarnation),
    resources: record.resources,
    now,
  };
}

/** The same for the machine as a whole. */
export function machineVerdictFacts(knowledge: Knowledge, now: number): MachineVerdictFacts {
  return {
    config: knowledge.configuration.config,
    gpus: knowledge.gpus,
    cards: knowledge.cards,
    driverGoneSince: knowledge.driverGoneSince,
    machine: knowledge.machine,
    pm2: knowledge.pm2,
    processes: knowledge.observed?.processes ?? unknown(NOT_LOOKED_YET),
    resources: knowledge.machineResources,
    failures: failuresOf(knowledge),
    now,
  };
}

function failuresOf(knowledge: Knowledge): MachineVerdictFacts['failures'] {
  const wanted = knowledge.desired?.instances.filter(({ desired, uuid }) => desired === 'running' && uuid !== null) ?? [];
  return wanted.map((instance) => {
    const incarnation = knowledge.observed?.incarnations.get(instance.name) ?? unknown(NOT_LOOKED_YET);
    const { probes: all, lastExit: exit } = knowledge.instances.of(instance.gpu);
    const probes = currentRecords(all, incarnation.known ? incarnation.value : null);
    const canary = probes.get('canary');
    if (canary?.latest.outcome === 'fail') return { words: canary.latest.reason ?? '', at: canary.since };
    const serves = probes.get('http')?.everPassed === true;
    return serves || exit === null || exit.wanted ? null : { words: lastWords(exit.lines, 'status') ?? exit.reason, at: exit.at };
  });
}

/** The driver, when it tells nothing of cards that were there. */
export function driverGoneOf({ gpus, cards, driverGoneSince }: Knowledge): DriverGone | null {
  const unread = cards.known && cards.value.gpus.some(({ state }) => state === 'unread');
  // Not asked yet: no end of an instance is of that time.
  if (unread && !gpus.known && driverGoneSince === null) return { reason: gpus.reason, since: Number.POSITIVE_INFINITY, unread };
  const reason = driverTrouble(gpus, cards);
  return reason === null || driverGoneSince === null ? null : { reason, since: driverGoneSince, unread };
}
