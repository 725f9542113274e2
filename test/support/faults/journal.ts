import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { JournalEvent } from '../../../src/domain/journal.ts';

/** The journal as it lies on the disk, so that it can be read while no agent runs. */
export function readJournal(root: string, afterId = 0): readonly JournalEvent[] {
  const database = new DatabaseSync(join(root, 'state/agent.db'), { readOnly: true, timeout: 2_000 });
  try {
    const rows = database.prepare('SELECT * FROM journal WHERE id > ? ORDER BY id').all(afterId);
    return rows.map((row) => JournalEvent.parse({ ...row, data: JSON.parse(String(row['data'])) as unknown }));
  } finally {
    database.close();
  }
}
