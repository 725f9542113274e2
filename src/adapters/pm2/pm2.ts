import { AgentError, isAgentError } from '../../domain/errors/errors.ts';
import type { Pm2Entry, ProcessEvent } from '../../domain/instances/instance.ts';
import type { Logger } from '../../ports/logs.ts';
import type { Processes } from '../../ports/pm2.ts';
import { type Bus, openBus } from './bus.ts';
import { checkEntry, type Pm2Row, parseRows, prepareArgument } from './entry.ts';
import { endDaemon } from './identity.ts';
import { type LaunchOptions, launchDaemon } from './launch.ts';
import { type DaemonReport, pm2Paths } from './paths.ts';
import { callDaemon } from './rpc.ts';
import { isAlive } from './tree.ts';

export interface ProcessesOptions extends LaunchOptions {
  readonly pm2Home: string;
  /** owned: this program starts and ends the daemon; external: another unit does. */
  readonly mode: 'owned' | 'external';
  readonly log: Logger;
}

const READ_LIMIT_MS = 2_000;
const START_LIMIT_MS = 5_000;
/** SIGKILL, the look at /proc and the answer, on top of the entry's own kill timeout. */
const STOP_MARGIN_MS = 7_000;
const TAKEN_LIMIT_MS = 5_000;
const POLL_MS = 20;

/**
 * PM2's daemon behind the port. Knows nothing between calls except the subscription to events: each call asks the daemon.
 * After `daemon-lost` calls reject with PM2_UNAVAILABLE until a daemon answers again; in owned mode `connect()` launches one.
 */
export function createProcesses(options: ProcessesOptions): Processes {
  const { log } = options;
  const listeners = new Set<(event: ProcessEvent) => void>();
  const lanes = new Map<string, Promise<unknown>>();
  let bus: Bus | null = null;
  let opening: Promise<void> | null = null;
  /** Between connect and disconnect. */
  let wanted = false;

  const tell = (event: ProcessEvent) => {
    for (const listener of listeners) listener(event);
  };

  const subscribe = (): Promise<void> => {
    if (bus !== null || !wanted) return Promise.resolve();
    opening ??= openBus(pm2Paths(options.pm2Home).bus, {
      onEvent: tell,
      onOutput: (name, text) => log.warn({ instance: name, text }, 'a process could not open its log'),
      onLost: () => {
        bus = null;
        tell({ kind: 'daemon-lost', at: Date.now() });
      },
    })
      .then((opened) => {
        if (wanted) bus = opened;
        else opened?.close();
      })
      .finally(() => {
        opening = null;
      });
    return opening;
  };

  const call = async (method: string, argument: unknown, timeoutMs: number): Promise<unknown> => {
    const answer = await callDaemon(pm2Paths(options.pm2Home).rpc, { method, argument, timeoutMs });
    // A daemon that came back (systemd started it again) is listened to again.
    if (bus === null) await subscribe();
    return answer;
  };

  const rows = async (): Promise<readonly Pm2Row[]> => parseRows(await call('getMonitorData', {}, READ_LIMIT_MS));
  const named = async (name: string) => (await rows()).filter((row) => row.state.name === name);

  const report = async (): Promise<Partial<DaemonReport>> => {
    const answer = await call('getReport', {}, READ_LIMIT_MS);
    return typeof answer === 'object' && answer !== null ? answer : {};
  };

  /** One call at a time for each name: PM2 makes three processes of three parallel starts. */
  const inLane = <T>(name: string, work: () => Promise<T>): Promise<T> => {
    const before = lanes.get(name) ?? Promise.resolve();
    const turn = before.then(work, work);
    const settled = turn.then(
      () => {},
      () => {},
    );
    lanes.set(name, settled);
    void settled.then(() => {
      if (lanes.get(name) === settled) lanes.delete(name);
    });
    return turn;
  };

  const apply = async (method: 'stopProcessId' | 'deleteProcessId', row: Pm2Row): Promise<void> => {
    try {
      await call(method, row.id, row.killTimeoutMs + STOP_MARGIN_MS);
    } catch (error) {
      // "id unknown": it ended and was forgotten meanwhile; the next look decides.
      if (!isAgentError(error) || error.code !== 'INSTANCE_FAILED') throw error;
    }
  };

  /** Looks again after the call: a respawn under way at that moment survives it in PM2. */
  const untilNone = async (name: string, method: 'stopProcessId' | 'deleteProcessId', left: (row: Pm2Row) => boolean): Promise<void> => {
    for (let attempt = 0; attempt < 3; attempt += 1) {
      const remaining = (await named(name)).filter(left);
      if (remaining.length === 0) return;
      await Promise.all(remaining.map((row) => apply(method, row)));
    }
    if ((await named(name)).some(left)) {
      throw new AgentError('INSTANCE_FAILED', `${name} could not be stopped: its process does not end even with SIGKILL`, {
        help: 'the driver may hold it; see `dmesg`, and restart the machine when it stays',
      });
    }
  };

  const remove = (name: string) => untilNone(name, 'deleteProcessId', () => true);

  /** What the daemon tells of itself; null when there is none. */
  const answering = async (isNone: (error: AgentError) => boolean = () => true): Promise<Partial<DaemonReport> | null> =>
    report().catch((error: unknown) => {
      if (isAgentError(error) && error.code === 'PM2_UNAVAILABLE' && isNone(error)) return null;
      throw error;
    });

  /** In place of one that does not answer, when `replace` says so. */
  const launch = async (replace: boolean): Promise<void> => {
    const ended = replace ? await endDaemon(options.pm2Home) : null;
    if (ended !== null) log.warn({ pid: ended }, 'the PM2 daemon answered nothing and was ended');
    const pid = await launchDaemon(pm2Paths(options.pm2Home), options);
    if (pid !== null) return log.info({ pid }, 'PM2 daemon started');
    // Another agent was quicker; its daemon may still be on the way up.
    const end = performance.now() + TAKEN_LIMIT_MS;
    while ((await answering()) === null) {
      if (performance.now() >= end)
        throw new AgentError('PM2_UNAVAILABLE', `another PM2 daemon has ${options.pm2Home} and does not answer`);
      await pause();
    }
  };

  return {
    async connect({ replace = false } = {}) {
      pm2Paths(options.pm2Home);
      wanted = true;
      // One that is deaf may hear again; to start another beside it is of no use.
      const isNone = (error: AgentError) => options.mode === 'external' || replace || error.details['timedOut'] !== true;
      if ((await answering(isNone)) === null) {
        if (options.mode === 'external') {
          throw new AgentError('PM2_UNAVAILABLE', `no PM2 daemon answers at ${options.pm2Home}`, {
            help: 'start its unit: `systemctl start comfylet-pm2`',
          });
        }
        await launch(replace);
      }
      // By now a connection of the bus is accepted too, so that no event after this is missed.
      await report();
    },
    list: async () => (await rows()).map((row) => row.state),
    check: checkEntry,
    start: (entry: Pm2Entry) =>
      inLane(entry.name, async () => {
        await checkEntry(entry);
        await remove(entry.name);
        await call('prepare', prepareArgument(entry, pm2Paths(options.pm2Home)), START_LIMIT_MS);
        const [row] = await named(entry.name);
        if (row === undefined || row.state.status === 'errored') {
          throw new AgentError('INSTANCE_FAILED', `PM2 could not start ${entry.name}`, { help: `see ${options.daemonLog}` });
        }
      }),
    stop: (name) =>
      inLane(name, () => untilNone(name, 'stopProcessId', (row) => row.state.pid !== null || row.state.status === 'waiting restart')),
    remove: (name) => inLane(name, () => remove(name)),
    onEvent(listener) {
      listeners.add(listener);
      return () => void listeners.delete(listener);
    },
    // One that is deaf is there, and cannot tell.
    daemonPid: async () => (await answering((error) => error.details['timedOut'] !== true))?.pid ?? null,
    async disconnect() {
      wanted = false;
      bus?.close();
      bus = null;
    },
    async shutdown() {
      // One that is there but hangs is ended without its consent: what it hosts is for the caller to end.
      const owner = options.mode === 'owned' ? await answering() : null;
      if (options.mode === 'owned' && owner === null) await endDaemon(options.pm2Home);
      const longest = owner === null ? 0 : Math.max(0, ...(await rows()).map((row) => row.killTimeoutMs));
      wanted = false;
      bus?.close();
      bus = null;
      if (owner === null) return;
      // The daemon stops all entries side by side before it answers.
      await callDaemon(pm2Paths(options.pm2Home).rpc, { method: 'killMe', argument: {}, timeoutMs: longest + STOP_MARGIN_MS });
      const end = performance.now() + READ_LIMIT_MS;
      while (owner.pid !== undefined && isAlive(owner.pid)) {
        if (performance.now() >= end) throw new AgentError('PM2_UNAVAILABLE', `the PM2 daemon ${owner.pid} does not end`);
        await pause();
      }
    },
  };
}

const pause = () => new Promise<void>((resolve) => setTimeout(resolve, POLL_MS));
