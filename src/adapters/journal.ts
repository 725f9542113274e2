import { renameSync, rmSync } from 'node:fs';
import type { DatabaseSync } from 'node:sqlite';
import { AgentError } from '../domain/errors.ts';
import { JournalEvent } from '../domain/journal.ts';
import type { JournalStore } from '../ports.ts';
import { fullReason } from './disk-full.ts';

const KEPT_ROWS = 50_000;
/** Of the database file; what is pruned makes room in it, so that it does not grow past this. */
const KEPT_BYTES = 64 * 1024 * 1024;
const PRUNE_EVERY = 1_000;
const LOOK_EVERY_BYTES = 4 * 1024 * 1024;
/** A single entry that brings more (the output of a command, say) keeps its message and loses its data. */
const DATA_LIMIT = 32 * 1024;
const MESSAGE_LIMIT = 8 * 1024;
const BUSY_MS = 2_000;
const LEVELS = { info: ['info', 'warn', 'error'], warn: ['warn', 'error'], error: ['error'] } as const;
/** SQLite's result codes, primary ones. */
const FULL = 13;
const UNUSABLE = new Set([11, 26]);

/**
 * The journal in SQLite (WAL): survives kill -9, is read while it is written, keeps the newest 50,000 entries, fewer
 * when they are large: the file stays below 64 MiB. A file that
 * is damaged is put aside as `<path>.damaged` and a new one is begun. @throws AgentError DISK_FULL, ROOT_NOT_WRITABLE
 */
export function createJournalStore(path: string): JournalStore {
  const database = explained(path, () => openOrBegin(path));
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
    append: (event) =>
      explained(path, () => {
        const at = new Date(event.at).toISOString();
        const { type, target, level } = event;
        const message = event.message.slice(0, MESSAGE_LIMIT);
        const text = JSON.stringify(event.data);
        const data = text.length > DATA_LIMIT ? { tooLarge: text.length } : event.data;
        const { lastInsertRowid } = insert.run(at, type, target, level, message, data === event.data ? text : JSON.stringify(data));
        // The first of each run too: an agent that is restarted often would never prune otherwise.
        pendingBytes += text.length + message.length;
        if (appended % PRUNE_EVERY === 0 || pendingBytes > LOOK_EVERY_BYTES) {
          keepSmall();
          pendingBytes = 0;
        }
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

/** Extended result codes carry the primary one in their low byte. */
const resultCode = (error: unknown): number => ((error as { errcode?: number } | undefined)?.errcode ?? 0) & 0xff;

function explained<T>(path: string, work: () => T): T {
  try {
    return work();
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error);
    if (resultCode(error) === FULL)
      throw new AgentError('DISK_FULL', `${path} could not be written: ${fullReason(path)}`, { cause: error });
    throw new AgentError('ROOT_NOT_WRITABLE', `the journal ${path} cannot be used: ${why}`, {
      cause: error,
      help: 'check the directory; a network volume cannot hold it: name a local one with AGENT_STATE_DIR',
    });
  }
}
