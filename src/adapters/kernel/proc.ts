import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { open } from 'node:fs/promises';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { AgentError } from '../../domain/errors/errors.ts';
import { errorCode, isAbsent, readFault } from '../files/errors.ts';

/**
 * Reading /proc. Small files that the kernel answers from memory (stat, status, fd links) are read synchronously: some
 * 10 µs each, where an asynchronous read costs five trips to the thread pool. What needs the memory lock of another
 * process (environ, cmdline) can block without end when that process hangs in a driver, so it is read in the thread pool,
 * with a time limit, and never twice at the same time.
 */

/** Linux USER_HZ: the unit of start times in /proc, 100 on every supported architecture. */
export const TICKS_PER_SECOND = 100;

/** How long a scan holds the event loop at a time. */
const TURN_MS = 2;
const READ_LIMIT_MS = 1_000;

/** What of /proc/<pid>/stat is used. */
export interface ProcessStat {
  readonly pid: number;
  readonly name: string;
  /** One letter: R, S, D, Z, … */
  readonly state: string;
  readonly parent: number;
  readonly group: number;
  readonly session: number;
  /** Clock ticks since boot; kept as text because it is only ever compared. */
  readonly startTicks: string;
  /** User and system time, without that of children, in ticks. */
  readonly cpuTicks: number;
}

/** One line of /proc/<pid>/stat; null when it is malformed. The name in parentheses may itself hold ") S 1". */
export function parseStat(line: string): ProcessStat | null {
  const opening = line.indexOf('(');
  const closing = line.lastIndexOf(')');
  if (opening < 0 || closing < opening) return null;
  const fields = line
    .slice(closing + 2)
    .trim()
    .split(' ');
  const [state, parent, group, session] = fields;
  // Field 22 of the whole line is the 20th after the name.
  const startTicks = fields[19];
  const pid = Number(line.slice(0, opening));
  if (state === undefined || parent === undefined || startTicks === undefined || !/^\d+$/.test(startTicks) || !Number.isInteger(pid))
    return null;
  // utime and stime are fields 14 and 15.
  const cpuTicks = Number(fields[11]) + Number(fields[12]);
  return {
    pid,
    name: line.slice(opening + 1, closing),
    state,
    parent: Number(parent),
    group: Number(group),
    session: Number(session),
    startTicks,
    cpuTicks,
  };
}

/** A process that has ended keeps its entry until its parent looks: it runs nothing and is gone for every purpose here. */
const isGone = (stat: ProcessStat): boolean => stat.state === 'Z' || stat.state === 'X' || stat.state === 'x';

/** A process that ends while its files are read: as good as not there. */
const isEnded = (error: unknown): boolean => isAbsent(error) || errorCode(error) === 'ESRCH';

/** Text of a small file, null when it is not there. @throws AgentError FILE_UNREADABLE when it is, and may not be read */
export function readSmall(path: string): string | null {
  try {
    return readFileSync(path, 'latin1');
  } catch (error) {
    if (isEnded(error)) return null;
    throw readFault(error, path);
  }
}

/** The same, for a file that one can do without. */
export function readOptional(path: string): string | null {
  try {
    return readSmall(path);
  } catch {
    return null;
  }
}

/** Whether there is a process of that pid, by a signal that does nothing: /proc may hide those of other users (hidepid). */
export function answersToSignal(pid: number): boolean {
  try {
    return process.kill(pid, 0);
  } catch (error) {
    return errorCode(error) === 'EPERM';
  }
}

/** Reads one process without taking "not shown" for "not there". @throws AgentError FILE_UNREADABLE when it cannot be told */
export function createLook(procRoot: string, isThere: (pid: number) => boolean): (pid: number) => ProcessStat | null {
  return (pid) => {
    const stat = readStat(procRoot, pid);
    if (stat !== null || !Number.isInteger(pid) || pid <= 0 || existsSync(`${procRoot}/${pid}`) || !isThere(pid)) return stat;
    throw new AgentError('FILE_UNREADABLE', `${procRoot} does not show process ${pid}, which is there`, {
      help: 'mount /proc without hidepid, or with gid= of a group that the agent is in',
    });
  };
}

/** The living process of that pid; null when none is shown. @throws AgentError FILE_UNREADABLE */
export function readStat(procRoot: string, pid: number): ProcessStat | null {
  const line = Number.isInteger(pid) && pid > 0 ? readSmall(`${procRoot}/${pid}/stat`) : null;
  const stat = line === null ? null : parseStat(line);
  return stat === null || isGone(stat) ? null : stat;
}

/** All pids, ascending; threads are not listed there. */
export function listPids(procRoot: string): readonly number[] {
  let names: readonly string[];
  try {
    names = readdirSync(procRoot);
  } catch (cause) {
    throw new AgentError('INTERNAL', `${procRoot} cannot be read`, { cause });
  }
  const pids = names.filter((name) => /^\d+$/.test(name)).map(Number);
  return pids.sort((a, b) => a - b);
}

/** Lets other work have its turn when the last one is a while ago; called between small synchronous steps. */
export function createPause(): () => Promise<void> | null {
  let since = performance.now();
  return () => {
    if (performance.now() - since < TURN_MS) return null;
    return nextTurn().then(() => {
      since = performance.now();
    });
  };
}

/** At most `limit` bytes of a file; null when it cannot be opened or read. */
export async function readLimited(path: string, limit: number): Promise<Buffer | null> {
  const file = await open(path, 'r').catch(() => null);
  if (file === null) return null;
  try {
    const parts: Buffer[] = [];
    for (let left = limit; left > 0; ) {
      const { bytesRead, buffer } = await file.read(Buffer.allocUnsafe(Math.min(left, 64 * 1024)));
      if (bytesRead === 0) break;
      parts.push(buffer.subarray(0, bytesRead));
      left -= bytesRead;
    }
    return Buffer.concat(parts);
  } catch {
    return null;
  } finally {
    await file.close();
  }
}

/** Reads that may hang; null too when the answer did not come in time. */
export type GuardedRead = (path: string, limit: number) => Promise<Buffer | null>;

/** A read that hangs holds one thread of the pool for good, so there is never more than one for each path. */
export function createGuardedRead(limitMs = READ_LIMIT_MS): GuardedRead {
  const underWay = new Map<string, Promise<Buffer | null>>();
  return async (path, limit) => {
    let reading = underWay.get(path);
    if (reading === undefined) {
      reading = readLimited(path, limit).finally(() => underWay.delete(path));
      underWay.set(path, reading);
    }
    const { promise: expired, resolve } = Promise.withResolvers<null>();
    const timer = setTimeout(resolve, limitMs, null);
    try {
      return await Promise.race([reading, expired]);
    } finally {
      clearTimeout(timer);
    }
  };
}
