import { type Leaving, ON_THE_WAY_MS } from '../../plan/instances/leaving.ts';
import type { PlanInput } from '../../plan/plan.ts';
import type { Clock } from '../../ports/clock.ts';
import type { Knowledge } from '../knowledge.ts';

export interface LeavingQueuesOptions {
  readonly clock: Clock;
  readonly knowledge: Pick<Knowledge, 'leaving' | 'instances'>;
  /** Asks an instance for its queue now. */
  readonly hasten: (gpu: number) => void;
  readonly lookAgain: () => void;
  readonly signal: AbortSignal;
}

/** Whoever is about to leave is asked for its queue as soon as the answer can be believed: nobody waits for the next regular look. */
export class LeavingQueues {
  readonly #options: LeavingQueuesOptions;
  #waiting: Promise<void> | null = null;

  constructor(options: LeavingQueuesOptions) {
    this.#options = options;
  }

  /** Documents that tell who takes no work any more are out: what its queue says counts from a moment after this one. */
  noteTold(): void {
    const { clock, knowledge } = this.#options;
    const { leaving, instances } = knowledge;
    const told = instances.known('leavingSince');
    instances.replace('leavingSince', new Map([...leaving.keys()].map((gpu) => [gpu, told.get(gpu) ?? clock.now()])));
  }

  /** Called by every look. One that was asked since, and told of jobs or nothing, is asked again by its probe in its own time. */
  read(leaving: ReadonlyMap<number, Leaving>, health: PlanInput['health']): void {
    const { clock, knowledge, hasten } = this.#options;
    const now = clock.now();
    const waits = [...leaving].flatMap(([gpu, { idle }]): number[] => {
      const from = (knowledge.instances.of(gpu).leavingSince ?? now) + ON_THE_WAY_MS;
      const askedAt = health.get(gpu)?.queue?.askedAt ?? Number.NEGATIVE_INFINITY;
      if (idle === 'yes' || askedAt >= from) return [];
      if (from > now) return [from - now];
      hasten(gpu);
      return [];
    });
    if (waits.length > 0) this.#lookAfter(Math.min(...waits));
  }

  /** The end of a wait that has begun. */
  async ended(): Promise<void> {
    await this.#waiting;
  }

  #lookAfter(ms: number): void {
    const { clock, signal, lookAgain } = this.#options;
    this.#waiting ??= clock
      .sleep(ms, signal)
      .catch(() => undefined)
      .finally(() => {
        this.#waiting = null;
        if (!signal.aborted) lookAgain();
      });
  }
}
