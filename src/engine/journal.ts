import type { JournalEvent, NewJournalEvent } from '../domain/journal.ts';
import type { Clock, JournalStore, Logger } from '../ports.ts';
import { Broadcast, type Subscription } from './broadcast.ts';

/** The operator's record: durable, live, and copied to the log. A store that fails loses the record, never the agent. */
export class Journal {
  readonly #store: JournalStore;
  readonly #clock: Clock;
  readonly #log: Logger;
  readonly #live = new Broadcast<JournalEvent>();
  #unstored = 0;

  constructor(store: JournalStore, clock: Clock, log: Logger) {
    this.#store = store;
    this.#clock = clock;
    this.#log = log;
  }

  record(event: NewJournalEvent): void {
    const facts = { type: event.type, target: event.target, ...event.data };
    this.#log[event.level](facts, event.message);
    try {
      this.#live.publish(this.#store.append({ ...event, at: this.#clock.now() }));
    } catch (error) {
      this.#unstored += 1;
      this.#log.error(
        { cause: error instanceof Error ? error.message : String(error), unstored: this.#unstored },
        'the journal cannot be written',
      );
      this.#live.publish({ ...event, id: 0, at: new Date(this.#clock.now()).toISOString() });
    }
  }

  newest(limit: number, minimumLevel: 'info' | 'warn' | 'error' = 'info'): readonly JournalEvent[] {
    try {
      return this.#store.newest(limit, minimumLevel);
    } catch {
      return [];
    }
  }

  follow(signal: AbortSignal): Subscription<JournalEvent> {
    return this.#live.subscribe(signal);
  }

  close(): void {
    this.#live.close();
    this.#store.close();
  }
}
