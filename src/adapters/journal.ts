import { createRequire } from 'node:module';
import type { DatabaseSync } from 'node:sqlite';
import { AgentError } from '../domain/errors.ts';
import { JournalEvent } from '../domain/journal.ts';
import type { JournalStore } from '../ports.ts';

const KEPT_ROWS = 50_000;
const PRUNE_EVERY = 1_000;
const LEVELS = { info: ['info', 'warn', 'error'], warn: ['warn', 'error'], error: ['error'] } as const;

/** The journal in SQLite (WAL): survives kill -9, is read while it is written, keeps the newest 50,000 entries. */
export function createJournalStore(path: string): JournalStore {
  const database = explained(path, () => {
    const opened = open(path);
    opened.exec('PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL; PRAGMA busy_timeout = 2000');
    opened.exec(
      'CREATE TABLE IF NOT EXISTS journal (id INTEGER PRIMARY KEY AUTOINCREMENT, at TEXT NOT NULL, type TEXT NOT NULL, target TEXT NOT NULL, level TEXT NOT NULL, message TEXT NOT NULL, data TEXT NOT NULL)',
    );
    return opened;
  });
  const insert = database.prepare('INSERT INTO journal (at, type, target, level, message, data) VALUES (?, ?, ?, ?, ?, ?)');
  const prune = database.prepare('DELETE FROM journal WHERE id <= (SELECT MAX(id) FROM journal) - ?');
  let appended = 0;
  return {
    append: (event) => {
      const at = new Date(event.at).toISOString();
      const { lastInsertRowid } = insert.run(at, event.type, event.target, event.level, event.message, JSON.stringify(event.data));
      appended += 1;
      if (appended % PRUNE_EVERY === 0) prune.run(KEPT_ROWS);
      const { type, target, level, message, data } = event;
      return { id: Number(lastInsertRowid), at, type, target, level, message, data };
    },
    newest: (limit, minimumLevel = 'info') => {
      const levels = LEVELS[minimumLevel];
      const rows = database
        .prepare(`SELECT * FROM journal WHERE level IN (${levels.map(() => '?').join(', ')}) ORDER BY id DESC LIMIT ?`)
        .all(...levels, limit);
      return rows.reverse().map((row) => JournalEvent.parse({ ...row, data: JSON.parse(String(row['data'])) as unknown }));
    },
    close: () => database.close(),
  };
}

const SQLITE_FULL = 13;

function explained<T>(path: string, work: () => T): T {
  try {
    return work();
  } catch (error) {
    const errcode = (error as { readonly errcode?: number } | undefined)?.errcode ?? 0;
    if ((errcode & 0xff) === SQLITE_FULL)
      throw new AgentError('DISK_FULL', `${path} could not be written: the disk is full`, { cause: error });
    throw error;
  }
}

/** node:sqlite says on stderr that it is experimental; that one warning is of no use to an operator. */
function open(path: string): DatabaseSync {
  const emitWarning = process.emitWarning;
  process.emitWarning = ((warning: string | Error, ...rest: unknown[]) => {
    if (!String(warning).includes('SQLite')) Reflect.apply(emitWarning, process, [warning, ...rest]);
  }) as typeof process.emitWarning;
  try {
    const { DatabaseSync: Database } = createRequire('/')('node:sqlite') as typeof import('node:sqlite');
    return new Database(path);
  } finally {
    process.emitWarning = emitWarning;
  }
}
