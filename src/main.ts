import { isSea } from 'node:sea';
import { readServiceEnvironment, SERVICE_NAMES } from './adapters/host/service-manager.ts';
import type { CliHost, CliOutput } from './cli/host.ts';
import { runCli } from './cli/main.ts';
import type { BuildInputs, VersionDocument } from './domain/agent.ts';
import { STATE_VERSION } from './domain/versions.ts';

/**
 * Entry of the program: the daemon, the PM2 host, or a command. The only reader of the environment and the only place
 * that ends the process. What a verb needs is loaded when it is asked for.
 */

declare const __AGENT_VERSION__: string | undefined;
declare const __AGENT_COMMIT__: string | undefined;
declare const __PM2_VERSION__: string | undefined;
declare const __BUILD_INPUTS__: BuildInputs | undefined;

/** First argument of the command that is PM2's daemon; not for people. */
const PM2_DAEMON = '__pm2-daemon';
/** What the launcher gave this process for itself. */
const OWN_FLAGS = /^--(?:max-semi-space-size|disable-sigusr1)/;

const version: VersionDocument = {
  agent: typeof __AGENT_VERSION__ === 'string' ? __AGENT_VERSION__ : '0.0.0-source',
  commit: typeof __AGENT_COMMIT__ === 'string' && __AGENT_COMMIT__ !== '' ? __AGENT_COMMIT__ : null,
  node: process.versions.node,
  pm2: typeof __PM2_VERSION__ === 'string' ? __PM2_VERSION__ : 'source',
  licence: 'AGPL-3.0-only',
  arch: process.arch,
  singleFile: isSea(),
  stateVersion: STATE_VERSION,
  build: typeof __BUILD_INPUTS__ === 'object' ? __BUILD_INPUTS__ : null,
};

/** The daemon outlives its terminal and whoever reads its output: its log file has it all. */
const daemon = { runs: false };

/** Commands that last longer than this mind whether anybody reads on. */
const WATCH_AFTER_MS = 500;
const watchOutput = async (): Promise<void> => (await import('./cli/session.ts')).watchReader(() => process.exit(0));

const output = (stream: NodeJS.WriteStream): CliOutput => {
  // A reader that went away (`agent logs | head`) ends a command quietly.
  stream.on('error', (error: NodeJS.ErrnoException) => {
    if (!daemon.runs) process.exit(error.code === 'EPIPE' ? 0 : 1);
  });
  return {
    write: (text) => void stream.write(text),
    get isTty() {
      return stream.isTTY === true;
    },
    get columns() {
      return stream.columns ?? 0;
    },
  };
};

/** How to run this same program as the PM2 daemon. `process.channel` keeps the launcher from adding what is named here. */
const daemonFlags = ['--max-semi-space-size=1', '--v8-pool-size=1', '--lite-mode', '--disable-sigusr1'];
const daemonCommand = {
  file: process.execPath,
  args: isSea()
    ? [`--node-options=${daemonFlags.join(' ')}`, PM2_DAEMON]
    : [...process.execArgv.filter((flag) => !OWN_FLAGS.test(flag)), ...daemonFlags, process.argv[1] ?? '', PM2_DAEMON],
};
const environment = process.env;
const service = readServiceEnvironment(environment, process.pid);

const host: CliHost = {
  stdout: output(process.stdout),
  stderr: output(process.stderr),
  environment,
  workingDirectory: process.cwd(),
  version,
  onInterrupt: (listener) => {
    process.on('SIGINT', listener);
    process.on('SIGTERM', listener);
    return () => {
      process.off('SIGINT', listener);
      process.off('SIGTERM', listener);
    };
  },
  readConfiguration: async (selection, others) => (await import('./local.ts')).readConfiguration(selection, context(others)),
  startInProcess: async (options) => (await import('./local.ts')).startInProcess(options, context()),
  doctor: async (selection, others) => (await import('./local.ts')).doctor(selection, context(others)),
  program: isSea() ? { file: process.execPath } : { command: [process.execPath, process.argv[1] ?? ''] },
  programs: async () => (await import('./adapters/host/programs.ts')).createPrograms({ environment, pid: process.pid }),
  system: async () => (await import('./adapters/host/host.ts')).createHostSystem(),
  asset: async (name) => (await import('./adapters/files/assets.ts')).createAssets('').text(name),
  deploy: async (request, onChange, signal) => (await import('./local.ts')).deployHosts(request, context(), onChange, signal),
  runDaemon: async ({ configFile, flags, quiet }) => {
    const [{ runDaemon }, { createFiles }] = await Promise.all([import('./daemon.ts'), import('./adapters/files/files.ts')]);
    daemon.runs = true;
    const stop = new AbortController();
    const stopNow = new AbortController();
    for (const signal of ['SIGINT', 'SIGTERM'] as const) {
      process.on(signal, () => {
        if (stop.signal.aborted) stopNow.abort();
        stop.abort();
      });
    }
    // A reload, or the terminal is gone: the agent goes on, as a daemon does.
    const reload = new EventTarget();
    process.on('SIGHUP', () => reload.dispatchEvent(new Event('asked')));
    await runDaemon({
      request: { file: configFile, environment, flags, workingDirectory: process.cwd() },
      version,
      pid: process.pid,
      daemonCommand,
      files: createFiles(),
      stderr: !quiet,
      stop: stop.signal,
      stopNow: stopNow.signal,
      onReload: (listener) => reload.addEventListener('asked', () => listener()),
      service,
      onListening: (url, socket) => host.stderr.write(`serving ${url} and ${socket}\n`),
    });
    return 0;
  },
};

const context = (others: CliHost['environment'] = environment) => ({
  environment: others,
  workingDirectory: process.cwd(),
  version,
  pid: process.pid,
  daemonCommand,
});

async function main(): Promise<number> {
  // Some packages print whole environments when asked to debug.
  delete process.env['DEBUG'];
  const argv = process.argv.slice(2);
  if (argv[0] === PM2_DAEMON) {
    const { runPm2Daemon } = await import('./adapters/pm2/daemon.ts');
    return runPm2Daemon({ pm2Home: process.env['PM2_HOME'] ?? '' });
  }
  // What systemd says to this process is for no child of it.
  for (const name of SERVICE_NAMES) delete environment[name];
  // The daemon goes on without a reader.
  if (!argv.includes('run')) setTimeout(watchOutput, WATCH_AFTER_MS).unref();
  return runCli(argv, host);
}

main().then(
  (code) => {
    process.exitCode = code;
    // What is still open (a keep-alive socket, a timer of a library) must not keep a finished command alive.
    const flushed = () => process.exit(code);
    if (process.stdout.writableLength === 0) flushed();
    else process.stdout.once('drain', flushed);
  },
  (error: unknown) => {
    process.stderr.write(`error[INTERNAL]: ${error instanceof Error ? (error.stack ?? error.message) : String(error)}\n`);
    process.exit(1);
  },
);
