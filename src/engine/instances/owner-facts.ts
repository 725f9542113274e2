import type { DesiredInstance } from '../../domain/instances/instance.ts';
import type { OwnerFacts } from '../../domain/instances/ownership.ts';
import type { Knowledge } from '../knowledge.ts';

/** What is left of an instance, how it ended last, and who has its port. */
export function ownerFacts(knowledge: Knowledge, instance: DesiredInstance): OwnerFacts {
  return {
    leftover: knowledge.leftovers.get(instance.gpu) ?? null,
    lastExit: knowledge.lastExits.get(instance.name) ?? null,
    stranger: strangerOn(knowledge, instance),
  };
}

/** Only while it is to run and has no process: who answers on the port of one that runs is the affair of its port probe. */
function strangerOn({ observed, holds, configuration }: Knowledge, { gpu, name }: DesiredInstance): OwnerFacts['stranger'] {
  const seen = observed?.incarnations.get(name);
  // The planner has judged it: it knows which ports are wanted and who is not a stranger.
  const held = holds.find((hold) => hold.target === `instance ${gpu}` && hold.code === 'PORT_HELD');
  if (observed === null || held === undefined || (seen?.known === true && seen.value !== null)) return null;
  const tcpPort = observed.leases.find((lease) => lease.gpu === gpu)?.tcpPort ?? configuration.config.ports.first + gpu;
  const holder = observed.portHolders.known ? observed.portHolders.value.find((each) => each.tcpPort === tcpPort) : undefined;
  return holder === undefined ? null : { holder, since: Date.parse(held.since) };
}
