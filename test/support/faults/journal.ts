import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { JournalEvent } from '../../../src/domain/journal.ts';

/** The journal as it lies on the disk, so that it can be read while no agent runs. */
export function readJournal(root: string, afterId = 0): readonly JournalEvent[] {
  return read(join(root, 'state/agent.db'), afterId);
}

/** Of a root that lies on a disk of the agent's own: SQLite would look for it on ours, so that it gets a copy. */
export function readHiddenJournal(root: string, afterId = 0): readonly JournalEvent[] {
  const copy = mkdtempSync(join(tmpdir(), 'journal-'));
  try {
    for (const name of ['agent.db', 'agent.db-wal']) writeFileSync(join(copy, name), readFileSync(join(root, 'state', name)));
    return read(join(copy, 'agent.db'), afterId, false);
  } finally {
    rmSync(copy, { recursive: true, force: true });
  }
}

function read(path: string, afterId: number, readOnly = true): readonly JournalEvent[] {
  const database = new DatabaseSync(path, { readOnly, timeout: 2_000 });
  try {
    const rows = database.prepare('SELECT * FROM journal WHERE id > ? ORDER BY id').all(afterId);
    return rows.map((row) => JournalEvent.parse({ ...row, data: JSON.parse(String(row['data'])) as unknown }));
  } finally {
    database.close();
  }
}
