import { chmodSync, mkdirSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { connect, createServer, type Server } from 'node:net';
import { join } from 'node:path';
import { createServiceManager, readServiceEnvironment, SERVICE_NAMES } from '../host/service-manager.ts';
import { lockName } from './identity.ts';
import { createMarkedSearch, markOf } from './marked.ts';
import { BUS_EXIT, DAEMON_EXIT_TAKEN, type DaemonReport, pm2Paths } from './paths.ts';
import { endTree, processTree, signalAll } from './tree.ts';

type God = typeof import('pm2/lib/God.js');

/** PM2's word for an entry whose respawn is due. */
const WAITING = 'waiting restart';
const BIND_LIMIT_MS = 5_000;
const STOP_LIMIT_MS = 1_600;

/**
 * What `agent __pm2-daemon` is: PM2's daemon in the foreground. Sends one IPC message when it can be called, and
 * tells systemd where that started it.
 *
 * @returns the exit code, once it is to exit: 0 asked to end and all entries stopped, 1 its sockets cannot be bound,
 * 3 another daemon has this home
 */
export async function runPm2Daemon(options: { readonly pm2Home: string }): Promise<number> {
  const paths = pm2Paths(options.pm2Home);
  const manager = createServiceManager({
    service: readServiceEnvironment(process.env, process.pid),
    onDeaf: (reason) => process.stderr.write(`systemd cannot be told: ${reason}\n`),
  });
  for (const name of SERVICE_NAMES) delete process.env[name];
  // A home that was opened to its group (and to nobody else) was so for an agent of another user.
  const isForGroup = [0o750, 0o770].includes((statSync(paths.home, { throwIfNoEntry: false })?.mode ?? 0) & 0o777);
  const umask = process.umask(isForGroup ? 0o007 : 0o077);
  // PM2 binds in a hot loop when its directory is missing, and writes a pid file for each process.
  mkdirSync(paths.pids, { recursive: true, mode: 0o700 });
  if (!isForGroup) chmodSync(paths.home, 0o700);

  const lock = await takeLock(paths.home);
  if (lock === null || (await answers(paths.rpc))) {
    process.stderr.write(`another PM2 daemon has ${paths.home}\n`);
    return DAEMON_EXIT_TAKEN;
  }
  // The lock is ours and nobody answers: what is left is from a daemon that was killed.
  rmSync(paths.rpc, { force: true });
  rmSync(paths.bus, { force: true });

  // Read while PM2 loads, with a stack trace in the log when it is not there.
  writeFileSync(join(paths.home, 'module_conf.json'), '{}');
  prepareProcess(paths.home);
  const { default: God } = await import('pm2/lib/God.js');
  const { default: Daemon } = await import('pm2/lib/Daemon.js');
  // PM2 turns source maps on for everybody; they are worth megabytes and nothing here.
  process.setSourceMapsEnabled(false);

  return new Promise<number>((resolve) => {
    const bindLimit = setTimeout(() => {
      process.stderr.write(`${paths.rpc} could not be bound within ${BIND_LIMIT_MS} ms\n`);
      resolve(1);
    }, BIND_LIMIT_MS);
    let ending: Promise<void> | undefined;
    const end = (): Promise<void> => {
      ending ??= stopAll(God);
      return ending;
    };
    const finish = () => {
      for (const path of [paths.rpc, paths.bus, paths.pid]) rmSync(path, { force: true });
      lock.close();
      resolve(0);
    };
    adaptGod(God, () => ending !== undefined);
    const daemon = new Daemon();
    // PM2's own stop entries one after the other, write a dump with every secret, and signal the caller.
    daemon.gracefullExit = () => void end().then(finish);
    daemon.close = (_options, callback) =>
      void end().then(() => {
        callback(null, {});
        // The answer is still in the socket's buffer.
        setTimeout(finish, 20);
      });
    // Not start(): its error handler would run whatever `node` is on PATH, and orphan the entries.
    daemon.innerStart(() => {
      clearTimeout(bindLimit);
      // Instances inherit it: what they write is for others to read, as the operator set it.
      process.umask(umask);
      void manager.notify({ phase: 'ready' });
    });
  });
}

function prepareProcess(home: string): void {
  // PM2 reads dozens of variables, some of which move its files; only ours count.
  for (const name of Object.keys(process.env)) {
    if (/^(PM2_|OVER_HOME$|KEYMETRICS_|pm_id$|EXP_BACKOFF)/.test(name)) delete process.env[name];
  }
  Object.assign(process.env, {
    PM2_HOME: home,
    PM2_PROGRAMMATIC: 'true',
    PM2_DISCRETE_MODE: 'true',
    PM2_NO_INTERACTION: 'true',
    PM2_DISABLE_VERSION_CHECK: 'true',
  });
  process.title = `comfylet: pm2 ${home}`;
  const report = (error: unknown) =>
    process.stderr.write(`${new Date().toISOString()} ${error instanceof Error ? error.stack : String(error)}\n`);
  // A malformed request must not end the host of all instances.
  process.on('uncaughtException', report);
  process.on('unhandledRejection', report);
}

/** Replaces the parts of PM2 that are wrong for us; see docs/adr and the reference for the measurements. */
function adaptGod(God: God, isEnding: () => boolean): void {
  // No host metrics, no polling of memory, no version check: the agent does its own.
  God.Worker.start = () => {};
  God.dumpProcessList = (callback) => callback(null, { success: true, process_list: [] });
  // Without a look at CPU and memory of every process, which nobody reads.
  God.getMonitorData = (_argument, callback) => callback(null, God.getFormatedProcesses());
  const report: DaemonReport = { pid: process.pid, protocol: 1 };
  // PM2's own report has the daemon's environment in it.
  God.getReport = (_argument, callback) => callback(null, report);

  const search = createMarkedSearch();
  /** Searches under way for what a process that died has left, by name: its respawn waits for them. */
  const sweeps = new Map<string, Promise<void>>();
  const sweep = (name: string, environment: { readonly pm2_env: { readonly env?: Readonly<Record<string, unknown>> } }): void => {
    const mark = markOf(environment.pm2_env.env);
    if (mark === null) return;
    const under = search(mark)
      .then((left) => signalAll(left, 'SIGKILL'))
      .catch((error: unknown) => void process.stderr.write(`${name}: its children could not be looked for: ${String(error)}\n`))
      .finally(() => {
        if (sweeps.get(name) === under) sweeps.delete(name);
      });
    sweeps.set(name, under);
  };

  God.killProcess = (pid, environment, callback) => {
    const mark = markOf(environment.env);
    endTree(pid, environment.kill_timeout ?? STOP_LIMIT_MS, mark === null ? undefined : () => search(mark)).then(
      (left) => (left.length === 0 ? callback(null, true) : callback({ type: 'timeout', msg: `still there: ${left.join(', ')}` })),
      callback,
    );
  };

  const executeApp = God.executeApp.bind(God);
  God.executeApp = (environment, callback) => {
    const begin = () => (isEnding() ? callback?.(new Error('the PM2 daemon is ending')) : executeApp(environment, callback));
    const before = sweeps.get(environment.name ?? '');
    if (before === undefined) return begin();
    const { status } = environment;
    // A stop or a removal meanwhile takes back the respawn, not a start that was asked for.
    const isWanted = () =>
      status !== WAITING ||
      (environment.status === WAITING && Object.values(God.clusters_db).some((entry) => entry?.pm2_env === environment));
    return before.then(() => (isWanted() ? begin() : undefined));
  };

  const handleExit = God.handleExit.bind(God);
  God.handleExit = (exited, exitCode, signal) => {
    const { name, status } = exited.pm2_env;
    const pid = exited.process.pid;
    const requested = status === 'stopping' || status === 'stopped';
    // Children of a process that died keep its GPU memory and its port; the respawn must not meet them.
    if (!requested && pid) {
      signalAll(processTree(pid), 'SIGKILL');
      sweep(name, exited);
    }
    // PM2 tells a signal in its log text only, and a clean exit there as SIGINT.
    const died = typeof signal === 'string' && signal !== '';
    God.bus.emit(BUS_EXIT, {
      name,
      pid: pid ?? null,
      exitCode: died ? null : exitCode,
      signal: died ? signal : null,
      requested,
      at: Date.now(),
    });
    return handleExit(exited, exitCode, signal);
  };
}

/** Stops and forgets all entries, side by side. */
async function stopAll(God: God): Promise<void> {
  God.pm2_being_killed = true;
  for (let round = 0; round < 3; round += 1) {
    const ids = Object.values(God.clusters_db).flatMap((entry) => (entry === undefined ? [] : [entry.pm2_env.pm_id]));
    if (ids.length === 0) return;
    await Promise.all(ids.map((id) => new Promise<void>((resolve) => void God.deleteProcessId(id, () => resolve()))));
  }
}

/** One daemon for one home; null: another one has it. */
function takeLock(home: string): Promise<Server | null> {
  const server = createServer((socket) => socket.destroy());
  return new Promise((resolve) => {
    server.once('error', () => resolve(null));
    server.listen({ path: `\0${lockName(home)}` }, () => resolve(server.unref()));
  });
}

function answers(path: string): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect({ path });
    const settle = (answer: boolean) => {
      socket.destroy();
      resolve(answer);
    };
    socket.once('connect', () => settle(true)).once('error', () => settle(false));
  });
}
