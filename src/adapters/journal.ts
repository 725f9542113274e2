import { renameSync, rmSync } from 'node:fs';
import type { DatabaseSync } from 'node:sqlite';
import { AgentError } from '../domain/errors.ts';
import { JournalEvent } from '../domain/journal.ts';
import type { JournalStore } from '../ports.ts';

const KEPT_ROWS = 50_000;
const PRUNE_EVERY = 1_000;
const BUSY_MS = 2_000;
const LEVELS = { info: ['info', 'warn', 'error'], warn: ['warn', 'error'], error: ['error'] } as const;
/** SQLite's result codes, primary ones. */
const FULL = 13;
const UNUSABLE = new Set([11, 26]);

/**
 * The journal in SQLite (WAL): survives kill -9, is read while it is written, keeps the newest 50,000 entries. A file that
 * is damaged is put aside as `<path>.damaged` and a new one is begun. @throws AgentError DISK_FULL, ROOT_NOT_WRITABLE
 */
export function createJournalStore(path: string): JournalStore {
  const database = explained(path, () => openOrBegin(path));
  const insert = database.prepare('INSERT INTO journal (at, type, target, level, message, data) VALUES (?, ?, ?, ?, ?, ?)');
  const prune = database.prepare('DELETE FROM journal WHERE id <= (SELECT MAX(id) FROM journal) - ?');
  let appended = 0;
  return {
    append: (event) =>
      explained(path, () => {
        const at = new Date(event.at).toISOString();
        const { type, target, level, message, data } = event;
        const { lastInsertRowid } = insert.run(at, type, target, level, message, JSON.stringify(data));
        // The first of each run too: an agent that is restarted often would never prune otherwise.
        if (appended % PRUNE_EVERY === 0) prune.run(KEPT_ROWS);
        appended += 1;
        return { id: Number(lastInsertRowid), at, type, target, level, message, data };
      }),
    newest: (limit, minimumLevel = 'info') =>
      explained(path, () => {
        const levels = LEVELS[minimumLevel];
        const rows = database
          .prepare(`SELECT * FROM journal WHERE level IN (${levels.map(() => '?').join(', ')}) ORDER BY id DESC LIMIT ?`)
          .all(...levels, Math.max(0, limit));
        return rows.reverse().map((row) => JournalEvent.parse({ ...row, data: JSON.parse(String(row['data'])) as unknown }));
      }),
    close: () => {
      if (database.isOpen) database.close();
    },
  };
}

function openOrBegin(path: string): DatabaseSync {
  try {
    return open(path);
  } catch (error) {
    if (!UNUSABLE.has(resultCode(error))) throw error;
    renameSync(path, `${path}.damaged`);
    for (const companion of [`${path}-wal`, `${path}-shm`]) rmSync(companion, { force: true });
    return open(path);
  }
}

function open(path: string): DatabaseSync {
  const { DatabaseSync: Database } = loadSqlite();
  const database = new Database(path, { timeout: BUSY_MS });
  try {
    database.exec('PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL');
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

/** Extended result codes carry the primary one in their low byte. */
const resultCode = (error: unknown): number => ((error as { errcode?: number } | undefined)?.errcode ?? 0) & 0xff;

function explained<T>(path: string, work: () => T): T {
  try {
    return work();
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error);
    if (resultCode(error) === FULL) throw new AgentError('DISK_FULL', `${path} could not be written: the disk is full`, { cause: error });
    throw new AgentError('ROOT_NOT_WRITABLE', `the journal ${path} cannot be used: ${why}`, {
      cause: error,
      help: 'check the directory; a network volume cannot hold it: name a local one with AGENT_STATE_DIR',
    });
  }
}
