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

/** Only while it has no process: who answers on the port of one that runs is the affair of its port probe. */
function strangerOn({ observed, strangers }: Knowledge, { gpu, name }: DesiredInstance): OwnerFacts['stranger'] {
  const seen = observed?.incarnations.get(name);
  return seen?.known === true && seen.value !== null ? null : (strangers.get(gpu) ?? null);
}
