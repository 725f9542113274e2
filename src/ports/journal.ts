import type { JournalEvent, NewJournalEvent } from '../domain/journal.ts';

/** Durable journal (SQLite). */
export interface JournalStore {
  /** What cannot be stored just now waits in memory, within bounds, and is stored when that is possible again. */
  append(event: NewJournalEvent & { readonly at: number }): JournalEvent;
  newest(limit: number, minimumLevel?: 'info' | 'warn' | 'error'): readonly JournalEvent[];
  /** Why entries wait in memory; null: all are stored. */
  problem(): string | null;
  close(): void;
}
