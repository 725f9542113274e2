import { renameSync, rmSync } from 'node:fs';
import type { DatabaseSync } from 'node:sqlite';
import { JournalEvent } from '../../domain/journal.ts';

const KEPT_ROWS = 50_000;
/** Of the database file; what is pruned makes room in it, so that it does not grow past this. */
const KEPT_BYTES = 64 * 1024 * 1024;
const PRUNE_EVERY = 1_000;
const LOOK_EVERY_BYTES = 4 * 1024 * 1024;
const BUSY_MS = 2_000;
const LEVELS = { info: ['info', 'warn', 'error'], warn: ['warn', 'error'], error: ['error'] } as const;

/** SQLite's primary result codes. */
const Result = { corrupt: 11, full: 13, noDatabase: 26 } as const;

/** Of an error of SQLite, the primary code (an extended one carries it in its low byte); 0: another error. */
const resultOf = (error: unknown): number => ((error as { errcode?: number } | undefined)?.errcode ?? 0) & 0xff;

/** The file is there, and is not what was written. */
export const isDamage = (error: unknown): boolean => resultOf(error) === Result.corrupt || resultOf(error) === Result.noDatabase;

/** There was no room for it; what is in the file can still be read. */
export const isFull = (error: unknown): boolean => resultOf(error) === Result.full;

type Level = keyof typeof LEVELS;

/** Its journal in one file. Every call throws SQLite's errors as they are. */
export interface JournalDatabase {
  /** @returns its number */
  insert(event: Omit<JournalEvent, 'id'>): number;
  /** The newest, oldest of them first. */
  newest(limit: number, minimumLevel: Level): readonly JournalEvent[];
  close(): void;
}

export function openJournalDatabase(path: string): JournalDatabase {
  const database = open(path);
  const insert = database.prepare('INSERT INTO journal (at, type, target, level, message, data) VALUES (?, ?, ?, ?, ?, ?)');
  const prune = database.prepare('DELETE FROM journal WHERE id <= (SELECT MAX(id) FROM journal) - ?');
  const size = database.prepare(
    'SELECT (page_count - freelist_count) * page_size AS bytes FROM pragma_page_count, pragma_freelist_count, pragma_page_size',
  );
  const halve = database.prepare('DELETE FROM journal WHERE id <= (SELECT (MIN(id) + MAX(id)) / 2 FROM journal)');
  const keepSmall = () => {
    prune.run(KEPT_ROWS);
    if (Number(size.get()?.['bytes'] ?? 0) > KEPT_BYTES) halve.run();
  };
  let appended = 0;
  let pendingBytes = 0;
  return {
    insert: ({ at, type, target, level, message, data }) => {
      const text = JSON.stringify(data);
      const { lastInsertRowid } = insert.run(at, type, target, level, message, text);
      // The first of each run too: an agent that is restarted often would never prune otherwise.
      pendingBytes += text.length + message.length;
      if (appended % PRUNE_EVERY === 0 || pendingBytes > LOOK_EVERY_BYTES) {
        keepSmall();
        pendingBytes = 0;
      }
      appended += 1;
      return Number(lastInsertRowid);
    },
    newest: (limit, minimumLevel) => {
      const levels = LEVELS[minimumLevel];
      const rows = database
        .prepare(`SELECT * FROM journal WHERE level IN (${levels.map(() => '?').join(', ')}) ORDER BY id DESC LIMIT ?`)
        .all(...levels, Math.max(0, limit));
      return rows.reverse().flatMap((row) => eventOf(row) ?? []);
    },
    close: () => {
      if (database.isOpen) database.close();
    },
  };
}

/** A row that a bad block has changed where SQLite keeps no checksum is left out, and the others are told. */
function eventOf(row: Record<string, unknown>): JournalEvent | null {
  try {
    return JournalEvent.parse({ ...row, data: JSON.parse(String(row['data'])) as unknown });
  } catch {
    return null;
  }
}

/** Moves a damaged file out of the way, to where people find it. @returns where */
export function setAside(path: string): string {
  const aside = `${path}.damaged`;
  renameSync(path, aside);
  for (const companion of [`${path}-wal`, `${path}-shm`]) rmSync(companion, { force: true });
  return aside;
}

function open(path: string): DatabaseSync {
  const { DatabaseSync: Database } = loadSqlite();
  const database = new Database(path, { timeout: BUSY_MS });
  try {
    database.exec('PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL; PRAGMA journal_size_limit = 4194304');
    database.exec(
      'CREATE TABLE IF NOT EXISTS journal (id INTEGER PRIMARY KEY AUTOINCREMENT, at TEXT NOT NULL, type TEXT NOT NULL, target TEXT NOT NULL, level TEXT NOT NULL, message TEXT NOT NULL, data TEXT NOT NULL)',
    );
    return database;
  } catch (error) {
    database.close();
    throw error;
  }
}

/** node:sqlite says on stderr that it is experimental; that one warning is of no use to an operator. */
function loadSqlite(): typeof import('node:sqlite') {
  const { emitWarning } = process;
  process.emitWarning = ((warning: string | Error, ...rest: unknown[]) => {
    if (!String(warning).includes('SQLite')) Reflect.apply(emitWarning, process, [warning, ...rest]);
  }) as typeof process.emitWarning;
  try {
    return process.getBuiltinModule('node:sqlite');
  } finally {
    process.emitWarning = emitWarning;
  }
}
