import type { JournalEvent, NewJournalEvent } from '../domain/journal.ts';
import type { Clock } from '../ports/clock.ts';
import type { JournalStore } from '../ports/journal.ts';
import type { Logger } from '../ports/logs.ts';
import { Broadcast, type Subscription } from './broadcast.ts';

/** The operator's record: durable, live, and copied to the log. */
export class Journal {
  readonly #store: JournalStore;
  readonly #clock: Clock;
  readonly #log: Logger;
  readonly #live = new Broadcast<JournalEvent>();
  #problem: string | null = null;

  constructor(store: JournalStore, clock: Clock, log: Logger) {
    this.#store = store;
    this.#clock = clock;
    this.#log = log;
  }

  record(event: NewJournalEvent): void {
    const facts = { type: event.type, target: event.target, ...event.data };
    this.#log[event.level](facts, event.message);
    this.#live.publish(this.#store.append({ ...event, at: this.#clock.now() }));
    const problem = this.#store.problem();
    // Once, not with each entry.
    if (problem !== null && this.#problem === null)
      this.#log.error({ cause: problem }, 'the journal cannot be written: entries wait in memory');
    this.#problem = problem;
  }

  /** Why what is recorded is not on the disk; null: it is. */
  get problem(): string | null {
    return this.#store.problem();
  }

  newest(limit: number, minimumLevel: 'info' | 'warn' | 'error' = 'info'): readonly JournalEvent[] {
    return this.#store.newest(limit, minimumLevel);
  }

  follow(signal: AbortSignal): Subscription<JournalEvent> {
    return this.#live.subscribe(signal);
  }

  close(): void {
    this.#live.close();
    this.#store.close();
  }
}
