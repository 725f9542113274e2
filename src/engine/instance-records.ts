import type { CardFacts } from '../domain/cards/card.ts';
import { gpuOfInstance } from '../domain/identity.ts';
import type { ExitEvidence } from '../domain/instances/exit-evidence.ts';
import type { MemoryWatch } from '../domain/instances/memory-group.ts';
import type { Leftover, Stranger } from '../domain/instances/ownership.ts';
import type { ResourceFacts } from '../domain/upkeep/resources.ts';
import type { ProbeRecord } from '../plan/health/assess.ts';
import type { Exit } from '../plan/instances/restart-policy.ts';
import type { Watch } from '../plan/releases/rollout.ts';

/** What is known of one instance beside what a look sees of it. Times are epoch ms. */
export interface InstanceRecord {
  /** By probe. */
  readonly probes: Map<string, ProbeRecord>;
  exits: readonly Exit[];
  lastExit: ExitEvidence | null;
  /** Its memory cgroup while it lives. */
  memory: MemoryWatch | null;
  /** Its log while it starts. `changedAt` is the time of its filesystem, which is only ever compared with itself. */
  log: { readonly changedAt: number; readonly movedAt: number } | null;
  /** As last looked. */
  resources: ResourceFacts | null;
  /** What its card is judged by. */
  card: CardFacts | null;
  /** When it was last asked to free memory, and for which verdict (its `since`). */
  freed: { readonly verdictSince: string; readonly at: number } | null;
  /** Since when everybody is told that it is about to leave. */
  leavingSince: number | null;
  /** Its processes that nobody hosts. */
  leftover: Leftover | null;
  /** Who sits on its port. */
  stranger: Stranger | null;
  /** What was seen of it since it moved to another release. */
  watch: Watch | null;
}

const nothingKnown = (): InstanceRecord => ({
  probes: new Map(),
  exits: [],
  lastExit: null,
  memory: null,
  log: null,
  resources: null,
  card: null,
  freed: null,
  leavingSince: null,
  leftover: null,
  stranger: null,
  watch: null,
});

type Kept = { [Key in keyof InstanceRecord]: null extends InstanceRecord[Key] ? Key : never }[keyof InstanceRecord];

/** One record for each slot, wanted or not; made when somebody first asks for it, and kept: there are no more than cards. */
export class InstanceRecords implements Iterable<readonly [gpu: number, record: InstanceRecord]> {
  readonly #records = new Map<number, InstanceRecord>();

  of(gpu: number): InstanceRecord {
    const known = this.#records.get(gpu);
    if (known !== undefined) return known;
    const fresh = nothingKnown();
    this.#records.set(gpu, fresh);
    return fresh;
  }

  /** null: it is the name of no instance. */
  named(name: string): InstanceRecord | null {
    const gpu = gpuOfInstance(name);
    return gpu === null ? null : this.of(gpu);
  }

  /** Of all instances of which this is known, by GPU. */
  known<Key extends Kept>(key: Key): ReadonlyMap<number, NonNullable<InstanceRecord[Key]>> {
    return new Map([...this.#records].flatMap(([gpu, record]) => (record[key] === null ? [] : [[gpu, record[key]] as const])));
  }

  /** Replaces it for all instances: those that are not named have none. */
  replace<Key extends Kept>(key: Key, values: ReadonlyMap<number, NonNullable<InstanceRecord[Key]>>): void {
    for (const gpu of values.keys()) this.of(gpu);
    for (const [gpu, record] of this.#records) record[key] = (values.get(gpu) ?? null) as InstanceRecord[Key];
  }

  [Symbol.iterator](): Iterator<readonly [gpu: number, record: InstanceRecord]> {
    return this.#records[Symbol.iterator]();
  }
}
