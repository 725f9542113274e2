import type { Target } from '../domain/identity.ts';

/** What an action tells of itself while it runs. */
export interface Lane {
  /** The instance ends from now on: it gets no more work. */
  ends(): void;
  /** It failed before it ended anything. */
  spares(): void;
}

/**
 * Actions under way.
 *
 * Invariants:
 * - One action for each target at a time; actions of different targets run side by side, and none waits for another.
 * - A target is `ending` from the moment its action said so until the action is over, or said that it spared the instance.
 * - A target stays `acting` after its action until a look that began later has seen what it did.
 */
export class Lanes {
  readonly #running = new Map<Target, Promise<void>>();
  readonly #ending = new Set<Target>();
  /** Targets of actions that ended after the last look began. */
  readonly #unseen = new Set<Target>();
  readonly #onEnd: () => void;

  /** @param onEnd called after each action */
  constructor(onEnd: () => void) {
    this.#onEnd = onEnd;
  }

  get busy(): ReadonlySet<Target> {
    return new Set(this.#running.keys());
  }

  get acting(): ReadonlySet<Target> {
    return new Set([...this.#running.keys(), ...this.#unseen]);
  }

  get ending(): ReadonlySet<Target> {
    return this.#ending;
  }

  /** @param work must not reject */
  begin(target: Target, work: (lane: Lane) => Promise<void>): void {
    if (this.#running.has(target)) return;
    const lane = work({ ends: () => this.#ending.add(target), spares: () => this.#ending.delete(target) }).finally(() => {
      this.#running.delete(target);
      this.#ending.delete(target);
      this.#unseen.add(target);
      this.#onEnd();
    });
    this.#running.set(target, lane);
  }

  /** A look begins. @returns to be called once it has seen everything */
  beginLook(): () => void {
    const seen = [...this.#unseen];
    return () => {
      for (const target of seen) this.#unseen.delete(target);
    };
  }

  async settled(): Promise<void> {
    await Promise.allSettled(this.#running.values());
  }
}
