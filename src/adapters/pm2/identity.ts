import { existsSync, readdirSync, readFileSync, readlinkSync, statSync } from 'node:fs';
import { setTimeout as pause } from 'node:timers/promises';
import { AgentError } from '../../domain/errors/errors.ts';
import { judgeOwnership, PM2_HOME_MARK, type ProcessIdentity } from '../../domain/instances/ownership.ts';
import { known, unknown } from '../../domain/observed.ts';
import { isSame, type Member, readMember, signalAll } from './tree.ts';

/**
 * Name of the abstract socket that the one daemon of a home holds, which the kernel frees with the process. Left to itself
 * PM2 lets the last of several daemons take the others' sockets.
 */
export function lockName(home: string): string {
  const { dev, ino } = statSync(home, { bigint: true });
  return `comfylet-pm2-${dev}-${ino}`;
}

const END_LIMIT_MS = 5_000;
/** A process that is ending shows neither its files nor its environment any more, and the lock a moment longer. */
const SETTLE_LIMIT_MS = 2_000;
const POLL_MS = 20;

/**
 * Ends the daemon of this home though it answers nothing: it alone holds the lock of the home, and has the home in its
 * environment. By SIGKILL, since a daemon that still hears would take its instances along; they run on, for the agent to
 * find.
 *
 * @returns its pid; null when nobody holds the lock
 * @throws AgentError PM2_UNAVAILABLE when the holder is not known to be the daemon, and is left alone, or does not end
 */
export async function endDaemon(home: string): Promise<number | null> {
  let found = lookForDaemon(home);
  for (const end = performance.now() + SETTLE_LIMIT_MS; found.refusal !== null; found = lookForDaemon(home)) {
    if (performance.now() >= end) throw new AgentError('PM2_UNAVAILABLE', found.refusal);
    await pause(POLL_MS);
  }
  const { daemon } = found;
  if (daemon === null) return null;
  signalAll([daemon], 'SIGKILL');
  for (const end = performance.now() + END_LIMIT_MS; isSame(daemon); await pause(POLL_MS)) {
    if (performance.now() >= end) throw new AgentError('PM2_UNAVAILABLE', `the PM2 daemon ${daemon.pid} does not end even with SIGKILL`);
  }
  return daemon.pid;
}

interface Look {
  /** Null: nobody holds the lock, or the refusal says why it may not be ended. */
  readonly daemon: Member | null;
  readonly refusal: string | null;
}

function lookForDaemon(home: string): Look {
  const inode = existsSync(home) ? lockInode(home) : null;
  if (inode === null) return { daemon: null, refusal: null };
  const holder = holderOf(inode);
  if (holder === null) return { daemon: null, refusal: `who holds the lock of ${home} cannot be seen, so it is left alone` };
  const ownership = judgeOwnership(identityOf(holder), { startTicks: holder.startTicks, marks: { [PM2_HOME_MARK]: [home] } });
  if (ownership === 'ours') return { daemon: holder, refusal: null };
  // One that is gone by now may have handed the lock on: look again.
  return {
    daemon: null,
    refusal: `pid ${holder.pid} holds the lock of ${home} and is not known to be its PM2 daemon; it is left alone`,
  };
}

/** Inode of the lock's socket; null: nobody has it. */
function lockInode(home: string): string | null {
  const name = `@${lockName(home)}`;
  // Num RefCount Protocol Flags Type St Inode Path
  const line = readFileSync('/proc/net/unix', 'latin1')
    .split('\n')
    .find((each) => each.endsWith(` ${name}`));
  return line?.trim().split(/\s+/)[6] ?? null;
}

function holderOf(inode: string): Member | null {
  const link = `socket:[${inode}]`;
  for (const name of readdirSync('/proc')) {
    if (!/^\d+$/.test(name)) continue;
    const member = readMember(Number(name));
    if (member !== null && hasOpen(Number(name), link)) return member;
  }
  return null;
}

function hasOpen(pid: number, link: string): boolean {
  const directory = `/proc/${pid}/fd`;
  try {
    return readdirSync(directory).some((name) => targetOf(`${directory}/${name}`) === link);
  } catch {
    return false;
  }
}

/** Null: closed since it was listed. */
function targetOf(path: string): string | null {
  try {
    return readlinkSync(path);
  } catch {
    return null;
  }
}

function identityOf(member: Member): Parameters<typeof judgeOwnership>[0] {
  try {
    const text = readFileSync(`/proc/${member.pid}/environ`, 'utf8');
    const home = text.split('\0').find((entry) => entry.startsWith(`${PM2_HOME_MARK}=`));
    const environment: ProcessIdentity['environment'] = home === undefined ? {} : { [PM2_HOME_MARK]: home.slice(PM2_HOME_MARK.length + 1) };
    if (!isSame(member)) return known(null);
    return known({ incarnation: { pid: member.pid, startTicks: member.startTicks, startedAt: '' }, environment });
  } catch (error) {
    return isSame(member) ? unknown(error instanceof Error ? error.message : String(error)) : known(null);
  }
}
