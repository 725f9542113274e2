import { execFileSync, spawnSync } from 'node:child_process';
import { rmSync, writeFileSync } from 'node:fs';
import { open, stat, writeFile } from 'node:fs/promises';
import { DatabaseSync } from 'node:sqlite';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { createJournalStore } from '../../../src/adapters/sqlite/journal.ts';
import { JournalEvent } from '../../../src/domain/journal.ts';
import type { JournalStore } from '../../../src/ports/journal.ts';
import { createFakeJournal } from '../../fakes/journal.ts';
import { type TempRoot, tempRoot } from '../../support/temp-root.ts';

const AT = Date.UTC(2026, 0, 2, 3, 4, 5, 678);
const event = (message: string, level: 'info' | 'warn' | 'error' = 'info') => ({
  type: 'instance.exit',
  target: 'instance 0',
  level,
  message,
  data: { exitCode: 1, nested: { list: [1, 'zwei', null] } },
  at: AT,
});
const messages = (store: JournalStore, limit: number, level?: 'info' | 'warn' | 'error') =>
  store.newest(limit, level).map((entry) => entry.message);

let root: TempRoot;
beforeEach(async () => {
  root = await tempRoot();
});
afterEach(() => root.remove());

describe.each([
  ['fake', () => createFakeJournal()],
  ['sqlite', () => createJournalStore(root.at('agent.db'))],
] as const)('JournalStore, %s', (_name, create) => {
  let store: JournalStore;
  beforeEach(() => {
    store = create();
  });
  afterEach(() => store.close());

  it('answers with what it stored, numbered upwards', () => {
    expect(store.newest(10)).toEqual([]);
    const first = store.append(event('first'));
    const second = store.append(event('second'));
    expect(JournalEvent.parse(first)).toEqual({ ...event('first'), id: first.id, at: '2026-01-02T03:04:05.678Z' });
    expect(second.id).toBeGreaterThan(first.id);
    expect(store.newest(10)).toEqual([first, second]);
  });

  it('gives the newest, oldest of them first, from a level on', () => {
    for (const level of ['info', 'warn', 'error'] as const) for (const n of [1, 2]) store.append(event(`${level} ${n}`, level));
    expect(messages(store, 3)).toEqual(['warn 2', 'error 1', 'error 2']);
    expect(messages(store, 10, 'warn')).toEqual(['warn 1', 'warn 2', 'error 1', 'error 2']);
    expect(messages(store, 10, 'error')).toEqual(['error 1', 'error 2']);
    expect(messages(store, 0)).toEqual([]);
  });

  it('keeps text as it is', () => {
    const message = `it's "quoted"; DROP TABLE journal; -- ä\u0000€\n`;
    store.append(event(message));
    expect(messages(store, 1)).toEqual([message]);
  });
});

describe('the journal on disk', () => {
  it('survives its process, killed as it may be, and is read while it is written', () => {
    const path = root.at('agent.db');
    const module = new URL('../../../src/adapters/sqlite/journal.ts', import.meta.url).href;
    const script = `import(${JSON.stringify(module)}).then(({ createJournalStore }) => {
      createJournalStore(${JSON.stringify(path)}).append(${JSON.stringify(event('before the kill'))}); process.kill(process.pid, 'SIGKILL'); });`;
    expect(spawnSync(process.execPath, ['-e', script]).signal).toBe('SIGKILL');
    const writer = createJournalStore(path);
    const reader = createJournalStore(path);
    const { id } = writer.append(event('after it'));
    expect(messages(reader, 10)).toEqual(['before the kill', 'after it']);
    expect(id).toBe(2);
    reader.close();
    writer.close();
    writer.close();
  });

  it('says nothing on stderr about SQLite', () => {
    const module = new URL('../../../src/adapters/sqlite/journal.ts', import.meta.url).href;
    const script = `import(${JSON.stringify(module)}).then(({ createJournalStore }) => {
      createJournalStore(':memory:').close(); process.emitWarning('of another kind'); });`;
    const { stderr, status } = spawnSync(process.execPath, ['-e', script], { encoding: 'utf8' });
    expect(status).toBe(0);
    expect(stderr).not.toMatch(/SQLite/i);
    expect(stderr).toMatch(/of another kind/);
  });

  it('keeps the newest 50,000 entries', () => {
    const path = root.at('agent.db');
    createJournalStore(path).close();
    const database = new DatabaseSync(path);
    database.exec(`INSERT INTO journal (at, type, target, level, message, data)
      WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 60000)
      SELECT '2026-01-02T03:04:05.678Z', 't', 'agent', 'info', 'old ' || i, '{}' FROM n`);
    const store = createJournalStore(path);
    const last = store.append(event('new'));
    expect(last.id).toBe(60_001);
    const { kept, first } = database.prepare('SELECT COUNT(*) AS kept, MIN(id) AS first FROM journal').get() as {
      kept: number;
      first: number;
    };
    expect([kept, first]).toEqual([50_000, 10_002]);
    expect(messages(store, 2)).toEqual(['old 60000', 'new']);
    store.close();
    database.close();
  });

  it('puts a damaged file aside and goes on', async () => {
    const path = root.at('agent.db');
    await writeFile(path, 'this was a database once '.repeat(200));
    const store = createJournalStore(path);
    store.append(event('anew'));
    expect(messages(store, 10)).toEqual([expect.stringContaining('was damaged; it was set aside as'), 'anew']);
    store.close();
    expect((await stat(`${path}.damaged`)).size).toBe(5_000);
  });

  /** Overwrites the middle of the file, as a bad block or a careless restore does. */
  async function damageTheMiddle(path: string, from = 8_192): Promise<void> {
    const { size } = await stat(path);
    const handle = await open(path, 'r+');
    try {
      await handle.write(Buffer.alloc(size - from, 0xa5), 0, size - from, from);
    } finally {
      await handle.close();
    }
  }

  it.each([
    ['by the next entry', (store: JournalStore) => void store.append(event('anew'))],
    ['by who reads', (store: JournalStore) => void store.newest(2_000)],
  ])('is put aside when damage in its middle is met %s, and tells it', async (_name, meet) => {
    const path = root.at('agent.db');
    const first = createJournalStore(path);
    for (let index = 0; index < 2_000; index++) first.append(event(`entry ${index}`));
    first.close();
    // Opens without complaint: its first pages are whole.
    await damageTheMiddle(path);
    const store = createJournalStore(path);
    meet(store);
    store.append(event('goes on'));
    const told = store.newest(10);
    expect(told[0]).toMatchObject({ type: 'state.damaged', level: 'error', message: expect.stringContaining(`${path}.damaged`) as string });
    expect(told.at(-1)?.message).toBe('goes on');
    expect(store.problem()).toBeNull();
    store.close();
    expect((await stat(`${path}.damaged`)).size).toBeGreaterThan(100_000);
    const next = createJournalStore(path);
    expect(messages(next, 1)).toEqual(['goes on']);
    next.close();
  });

  it.skipIf(process.getuid?.() !== 0)('on a full disk entries wait in memory, and are stored when there is room', async () => {
    execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=256k', 'none', root.path]);
    try {
      const path = root.at('agent.db');
      const filler = root.at('filler');
      createJournalStore(path).close();
      expect(() => writeFileSync(filler, Buffer.alloc(1024 * 1024))).toThrow('ENOSPC');
      const store = createJournalStore(path);
      expect(store.problem()).toContain('the disk is full');
      expect(store.append(event('meanwhile')).id).toBe(1);
      expect(messages(store, 10)).toEqual(['meanwhile']);
      rmSync(filler);
      store.close();
      const next = createJournalStore(path);
      expect([messages(next, 10), next.problem()]).toEqual([['meanwhile'], null]);
      next.close();
    } finally {
      execFileSync('umount', [root.path]);
    }
  });

  it('names the place that cannot hold it', () => {
    const path = root.at('no', 'such', 'directory', 'agent.db');
    expect(() => createJournalStore(path)).toThrow(`the journal ${path} cannot be used`);
  });

  it('large entries do not let the file grow without end', async () => {
    const path = root.at('agent.db');
    const store = createJournalStore(path);
    const data = { output: 'x'.repeat(30_000) };
    for (let index = 0; index < 4_000; index++) store.append({ ...event(`entry ${index}`), data });
    const kept = store.newest(5_000);
    store.append({ ...event('too much'), message: 'm'.repeat(20_000), data: { output: 'x'.repeat(100_000) } });
    const [last] = store.newest(1);
    store.close();
    expect((await stat(path)).size).toBeLessThan(80 * 1024 * 1024);
    expect(kept.at(-1)?.message).toBe('entry 3999');
    expect(kept.length).toBeGreaterThan(500);
    expect(last?.data).toEqual({ tooLarge: 100_013 });
    expect(last?.message.length).toBe(8_192);
  });
});
