import type { CliHost, CliOutput } from './cli/host.ts';
import { runCli } from './cli/main.ts';
import type { VersionDocument } from './domain/agent.ts';

/**
 * Entry of the program: the daemon, the PM2 host, or a command. The only reader of the environment and the only place
 * that ends the process. What a verb needs is loaded when it is asked for.
 */

declare const __AGENT_VERSION__: string | undefined;
declare const __AGENT_COMMIT__: string | undefined;
declare const __PM2_VERSION__: string | undefined;

/** First argument of the command that is PM2's daemon; not for people. */
const PM2_DAEMON = '__pm2-daemon';

const version: VersionDocument = {
  agent: typeof __AGENT_VERSION__ === 'string' ? __AGENT_VERSION__ : '0.0.0-source',
  commit: typeof __AGENT_COMMIT__ === 'string' && __AGENT_COMMIT__ !== '' ? __AGENT_COMMIT__ : null,
  node: process.versions.node,
  pm2: typeof __PM2_VERSION__ === 'string' ? __PM2_VERSION__ : 'source',
  licence: 'AGPL-3.0-only',
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

/**
 * How to run this same program as the PM2 daemon. It does little but wait and pass on output, so it is run without optimised
 * code: 6 MB less at rest and 30 MB less in a flood of output, at nine tenths of the throughput.
 */
const daemonCommand = { file: process.execPath, args: [...process.execArgv, '--lite-mode', process.argv[1] ?? '', PM2_DAEMON] };
const environment = process.env;

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
  readConfiguration: async (selection) => (await import('./local.ts')).readConfiguration(selection, context()),
  startInProcess: async (options) => (await import('./local.ts')).startInProcess(options, context()),
  doctor: async (selection) => (await import('./local.ts')).doctor(selection, context()),
  deploy: async (request, onChange, signal) => (await import('./local.ts')).deployHosts(request, context(), onChange, signal),
  runDaemon: async ({ configFile, flags, quiet }) => {
    const [{ runDaemon }, { createFiles }] = await Promise.all([import('./daemon.ts'), import('./adapters/files.ts')]);
    daemon.runs = true;
    const stop = new AbortController();
    const stopNow = new AbortController();
    for (const signal of ['SIGINT', 'SIGTERM'] as const) {
      process.on(signal, () => {
        if (stop.signal.aborted) stopNow.abort();
        stop.abort();
      });
    }
    // The terminal is gone; the agent goes on, as a daemon does.
    process.on('SIGHUP', () => undefined);
    await runDaemon({
      request: { file: configFile, environment, flags, workingDirectory: process.cwd() },
      version,
      pid: process.pid,
      daemonCommand,
      files: createFiles(),
      stderr: !quiet,
      stop: stop.signal,
      stopNow: stopNow.signal,
      onListening: (url, socket) => host.stderr.write(`serving ${url} and ${socket}\n`),
    });
    return 0;
  },
};

const context = () => ({ environment, workingDirectory: process.cwd(), version, pid: process.pid, daemonCommand });

async function main(): Promise<number> {
  // Some packages print whole environments when asked to debug.
  delete process.env['DEBUG'];
  const argv = process.argv.slice(2);
  if (argv[0] === PM2_DAEMON) {
    const { runPm2Daemon } = await import('./adapters/pm2-daemon.ts');
    return runPm2Daemon({ pm2Home: process.env['PM2_HOME'] ?? '' });
  }
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
