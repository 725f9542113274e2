import { closeSync, openSync, unlinkSync, writeSync } from 'node:fs';
import { dirname } from 'node:path';
import { AgentError } from '../../domain/errors/errors.ts';
import { isOfTheDisk } from '../../domain/errors/no-room.ts';
import type { JournalEvent } from '../../domain/journal.ts';
import type { JournalStore } from '../../ports/journal.ts';
import type { Logger } from '../../ports/logs.ts';
import { fullReason } from '../files/disk-full.ts';
import { isAbsent, writeFault } from '../files/errors.ts';
import { silentLog } from '../logs/silent.ts';
import { isDamage, isFull, type JournalDatabase, openJournalDatabase, setAside } from './database.ts';

/** A single entry that brings more (the output of a command, say) keeps its message and loses its data. */
const DATA_LIMIT = 32 * 1024;
const MESSAGE_LIMIT = 8 * 1024;
/** Entries kept in memory while the file takes none; of more, the oldest are lost. */
const WAITING_LIMIT = 1_000;
/** Between two attempts at a file that takes nothing. */
const RETRY_MS = 5_000;
const IN_MEMORY = ':memory:';

/**
 * The journal in SQLite (WAL): survives kill -9, is read while it is written, keeps the newest 50,000 entries, fewer
 * when they are large: the file stays below 64 MiB. A file that is damaged is put aside as `<path>.damaged` whenever that
 * is met, a new one is begun, and its first entry says so. While the disk takes nothing, entries wait in memory.
 * @throws AgentError ROOT_NOT_WRITABLE when the file cannot be opened, and not for want of room
 */
export function createJournalStore(path: string, log: Pick<Logger, 'error'> = silentLog): JournalStore {
  let database: JournalDatabase | null = null;
  let problem: AgentError | null = null;
  let triedAt = Number.NEGATIVE_INFINITY;
  let lastId = 0;
  const waiting: JournalEvent[] = [];

  /** On the open file; on a new one when this one turns out to be damaged. */
  const onFile = <T>(work: (opened: JournalDatabase) => T): T => {
    try {
      database ??= openJournalDatabase(path);
      return work(database);
    } catch (error) {
      if (!isDamage(error)) throw error;
      drop();
      const aside = setAside(path);
      database = openJournalDatabase(path);
      const told = damaged(path, aside);
      log.error({ path: aside }, told.message);
      database.insert(told);
      return work(database);
    }
  };
  const drop = (): void => {
    const open = database;
    database = null;
    try {
      open?.close();
    } catch {
      // It could not write what it held back.
    }
  };
  const store = (): void => {
    triedAt = performance.now();
    try {
      onFile((opened) => {
        for (let [first] = waiting; first !== undefined; [first] = waiting) {
          lastId = opened.insert(first);
          waiting.shift();
        }
      });
      problem = null;
    } catch (error) {
      problem = explained(path, error);
      // What SQLite holds of a file that it cannot read or that went away is of no use; one that is full stays readable.
      if (!isFull(error)) drop();
    }
  };

  store();
  if (problem !== null && !isOfTheDisk(problem)) {
    drop();
    throw problem;
  }
  return {
    append: (event) => {
      const { type, target, level } = event;
      const text = JSON.stringify(event.data);
      const entry = {
        id: (waiting.at(-1)?.id ?? lastId) + 1,
        at: new Date(event.at).toISOString(),
        type,
        target,
        level,
        message: event.message.slice(0, MESSAGE_LIMIT),
        data: text.length > DATA_LIMIT ? { tooLarge: text.length } : event.data,
      };
      waiting.push(entry);
      if (problem === null || performance.now() - triedAt >= RETRY_MS) store();
      if (waiting.length > WAITING_LIMIT) waiting.shift();
      return waiting.length === 0 ? { ...entry, id: lastId } : entry;
    },
    newest: (limit, minimumLevel = 'info') => {
      const unstored = waiting.filter(({ level }) => RANKS[level] >= RANKS[minimumLevel]);
      try {
        // One that takes nothing is not opened for each reader.
        const stored = problem === null || database !== null ? onFile((opened) => opened.newest(limit, minimumLevel)) : [];
        return limit <= 0 ? [] : [...stored, ...unstored].slice(-limit);
      } catch (error) {
        problem = explained(path, error);
        drop();
        return limit <= 0 ? [] : unstored.slice(-limit);
      }
    },
    problem: () => problem?.message ?? null,
    close: () => {
      if (waiting.length > 0) store();
      drop();
    },
  };
}

const RANKS = { info: 0, warn: 1, error: 2 } as const;

const damaged = (path: string, aside: string): Omit<JournalEvent, 'id'> => ({
  at: new Date().toISOString(),
  type: 'state.damaged',
  target: 'agent',
  level: 'error',
  message: `${path} was damaged; it was set aside as ${aside}, and a new one was begun`,
  data: { path: aside },
});

function explained(path: string, error: unknown): AgentError {
  const why = error instanceof Error ? error.message : String(error);
  const details = { path };
  if (isFull(error)) return new AgentError('DISK_FULL', `${path} could not be written: ${fullReason(path)}`, { cause: error, details });
  // SQLite does not tell why: the disk does.
  const fault = path === IN_MEMORY ? null : faultOfDirectory(dirname(path));
  if (fault !== null && isOfTheDisk(fault))
    return new AgentError(fault.code, `the journal ${path} cannot be used: ${fault.message}`, { cause: error, details: fault.details });
  return new AgentError('ROOT_NOT_WRITABLE', `the journal ${path} cannot be used: ${why}`, {
    cause: error,
    details,
    help: 'check the directory; a network volume cannot hold it: name a local one with AGENT_STATE_DIR',
  });
}

/** Why nothing can be written there, or null. A directory that is not there could not be made: the one above says why. */
function faultOfDirectory(directory: string): AgentError | null {
  const trial = `${directory}/.agent-trial-${process.pid}`;
  try {
    const descriptor = openSync(trial, 'wx', 0o600);
    try {
      writeSync(descriptor, Buffer.alloc(64 * 1024));
    } finally {
      closeSync(descriptor);
      unlinkSync(trial);
    }
    return null;
  } catch (error) {
    if (isAbsent(error) && directory !== dirname(directory)) return faultOfDirectory(dirname(directory));
    return writeFault(error, directory);
  }
}
