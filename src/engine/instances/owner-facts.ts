import type { DesiredInstance } from '../../domain/instances/instance.ts';
import type { OwnerFacts } from '../../domain/instances/ownership.ts';
import type { Knowledge } from '../knowledge.ts';

/** What is left of an instance, how it ended last, and who has its port. */
export function ownerFacts(knowledge: Knowledge, instance: DesiredInstance): OwnerFacts {
  const { leftover, lastExit, stranger } = knowledge.instances.of(instance.gpu);
  const seen = knowledge.observed?.incarnations.get(instance.name);
  const isThere = seen?.known === true && seen.value !== null;
  // Who answers on the port of one that runs is the affair of its port probe.
  return { leftover, lastExit, stranger: isThere ? null : stranger };
}
