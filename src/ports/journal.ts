/** Durable journal (SQLite). */
export interface JournalStore {
  /** What cannot be stored just now waits in memory, within bounds, and is stored when that is possible again. */
  append(event: import('../domain/journal.ts').NewJournalEvent & { readonly at: number }): import('../domain/journal.ts').JournalEvent;
  newest(limit: number, minimumLevel?: 'info' | 'warn' | 'error'): readonly import('../domain/journal.ts').JournalEvent[];
  /** Why entries wait in memory; null: all are stored. */
  problem(): string | null;
  close(): void;
}
