import type { JournalEvent } from '../../src/domain/journal.ts';
import { toTime } from '../../src/domain/observed.ts';
import type { JournalStore } from '../../src/ports/journal.ts';

export interface FakeJournal extends JournalStore {
  /** All entries, oldest first. */
  readonly entries: readonly JournalEvent[];
  readonly closed: boolean;
  /** From now on nothing can be stored, as on a full disk: entries wait in memory. */
  break(error: Error | null): void;
}

const LEVELS = ['info', 'warn', 'error'] as const;

/** A journal in memory; it outlives the agents that write to it. */
export function createFakeJournal(): FakeJournal {
  const entries: JournalEvent[] = [];
  let fault: Error | null = null;
  let closed = false;
  return {
    entries,
    get closed() {
      return closed;
    },
    break: (error) => {
      fault = error;
    },
    append: ({ at, ...event }) => {
      const entry = { ...event, id: entries.length + 1, at: toTime(at) };
      entries.push(entry);
      return entry;
    },
    newest: (limit, minimumLevel = 'info') =>
      limit === 0 ? [] : entries.filter((entry) => LEVELS.indexOf(entry.level) >= LEVELS.indexOf(minimumLevel)).slice(-limit),
    problem: () => fault?.message ?? null,
    close: () => {
      closed = true;
    },
  };
}
