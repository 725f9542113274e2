import { createClock } from './adapters/host/clock.ts';
import { createServiceManager, type ServiceEnvironment } from './adapters/host/service-manager.ts';
import { connectPorts, type PortOptions } from './connect-ports.ts';
import type { VersionDocument } from './domain/agent.ts';
import { SYSTEM_SECRETS } from './domain/configuration/access.ts';
import type { Config, Layout } from './domain/configuration/config.ts';
import { type ConfigurationRequest, ConfigurationSource } from './engine/configuration/configuration.ts';
import { LiveConfiguration } from './engine/configuration/live.ts';
import { prepareWhatFits } from './engine/configuration/prepare-root.ts';
import { orRefuse } from './engine/configuration/refused-start.ts';
import { socketRights } from './engine/configuration/socket-rights.ts';
import { createCore } from './engine/core.ts';
import { awaitProof } from './engine/host/upgrade-proof.ts';
import { endLeftChildren } from './engine/instances/left-children.ts';
import { endEveryInstance } from './engine/instances/leftovers.ts';
import { OwnFiles, ownFilesOf } from './engine/reports/own-files.ts';
import { ServiceReports } from './engine/reports/service-reports.ts';
import { openState } from './engine/state/version.ts';
import { quickLocation } from './plan/configuration/quick-location.ts';
import { stopDrainMs } from './plan/configuration/stop-grace.ts';
import type { Files } from './ports/files.ts';
import type { Logger } from './ports/logs.ts';
import type { Ports } from './ports.ts';

export interface DaemonOptions {
  readonly request: ConfigurationRequest;
  readonly version: VersionDocument;
  readonly pid: number;
  readonly daemonCommand: PortOptions['daemonCommand'];
  readonly files: Files;
  /** Readable log lines on stderr beside the log file. */
  readonly stderr: boolean;
  /** Aborted by the first SIGTERM or SIGINT: drain, then stop. */
  readonly stop: AbortSignal;
  /** Aborted by the second: stop at once. */
  readonly stopNow: AbortSignal;
  /** Calls the listener with each wish to read the configuration again (SIGHUP). */
  readonly onReload: (listener: () => void) => void;
  /** Who started the agent and is told how it is. */
  readonly service: ServiceEnvironment;
  /** Called once health is served. */
  readonly onListening: (url: string, socket: string) => void;
}

/** The first process of a machine or container: whatever loses its parent becomes its child. */
const INIT_PID = 1;
const INIT_WARNING =
  'this is PID 1, and nobody reaps what node packs leave behind: make `tini -- agent run` the entry point, or run the container with an init (docker run --init)';

/**
 * The boot order of the agent on one page, and the reverse on shutdown. Health is served before anything slow begins, so
 * that a probe gets the truth from the first second.
 */
export async function runDaemon(options: DaemonOptions): Promise<void> {
  const { files, request, service, stop } = options;
  const source = new ConfigurationSource(files, request);
  const location = quickLocation({ ...request, rootFlag: source.rootFlag(), fileText: null });
  const refused = {
    manager: service.socket === null ? null : createServiceManager({ service, onDeaf: () => undefined }),
    files,
    clock: createClock(),
    watched: [...source.candidates(), SYSTEM_SECRETS],
    stateDirectory: location?.state ?? null,
    stop,
  };
  await orRefuse(refused, () => serve(options, source));
}

async function serve(options: DaemonOptions, source: ConfigurationSource): Promise<void> {
  const { files, version, pid, stop, stopNow } = options;

  // 1. What is wanted, and where.
  const configuration = await source.load();
  const { config, layout, secrets } = configuration;
  // An agent that cannot write has that to say, and may have what to delete.
  const directories = await prepareWhatFits(files, layout, config.users);

  // 2. This root is ours alone, from here to the end.
  const lock = await files.lock(layout.rootLock, `agent run (pid ${pid})`);
  const state = await openState(files, layout.state).catch(async (error: unknown) => {
    await lock.release();
    throw error;
  });
  const { createLogger } = await import('./adapters/logs/log.ts');
  const { log, flush } = await createLogger({
    level: config.log.level,
    file: `${layout.logs}/agent.log`,
    maxFileMb: config.log.maxFileMb,
    keepFiles: config.log.keepFiles,
    stderr: options.stderr,
  });
  if (pid === INIT_PID) log.warn({ pid }, INIT_WARNING);
  // Replaced by the engine's knowledge as soon as there is one.
  let live: { readonly config: Config } = configuration;
  const { ports, close: closePorts } = await connectPorts({
    config,
    layout,
    secrets,
    log,
    daemonCommand: options.daemonCommand,
    mayStartPm2: true,
    current: () => live.config,
  });
  await endLeftChildren(ports, layout, log);
  const machineName = ports.hardware.hostname();
  let url: string | null = null;
  const core = await createCore({ ports, log, configuration, version, machineName, pid, isDaemon: true, mayWrite: true, url: () => url });
  const { reconciler, journal } = core;
  live = {
    get config() {
      return core.knowledge.configuration.config;
    },
  };
  journal.record({
    type: 'agent.start',
    target: 'agent',
    level: 'info',
    message: `agent ${version.agent} starts on ${layout.root}`,
    data: { pid, version: version.agent },
  });

  // 3. Listen before anything slow.
  const { createApi } = await import('./api/server.ts');
  const api = await createApi(core.agent, {
    token: secrets.token,
    allowedHosts: config.api.allowedHosts,
    allowedOrigins: config.api.allowedOrigins,
    maxStreams: config.api.maxStreams,
    loopback: isLoopback(config.api.host),
    assets: ports.assets,
    log,
  });
  const manager = createServiceManager({
    service: options.service,
    onDeaf: (cause) => log.warn({ cause }, 'the service manager cannot be told how the agent is'),
  });
  const reports = new ServiceReports({ manager, clock: ports.clock, documents: core.documents, changes: core.changes });
  const inputs = new LiveConfiguration({ source, core, files, log });
  let ownFiles: OwnFiles | null = null;
  try {
    const { host, port } = await api.listenTcp(config.api.host, config.api.port);
    url = `http://${host.includes(':') ? `[${host}]` : host}:${port}`;
    const rights = await socketRights(files, { uid: process.getuid?.() ?? -1, groups: process.getgroups?.() ?? [] });
    const about = { pid, url, root: layout.root, state: layout.state, socket: layout.socket };
    const socket = { hasSocket: () => api.hasSocket(), listenSocket: () => api.listenSocket(layout.socket, rights) };
    ownFiles = new OwnFiles({
      files: ownFilesOf({ files, layout, directories, state, socket, about, discovery: core.discovery }),
      clock: ports.clock,
      log,
      onProblems: (problems) => {
        core.knowledge.unplaced = problems;
        reconciler.refresh();
      },
    });
    await ownFiles.begin();
    ownFiles.start();
    options.onListening(url, layout.socket);
    options.onReload(() => void reports.reload(() => inputs.reload()));
    void reports.start();

    // A disk that is full is cleaned whatever PM2 and the cards are doing.
    core.resources.start();
    core.caretaker.start();

    // 4. PM2 tells what happens to instances; without it they are unknown, and it is asked again by every look.
    const silence = ports.processes.onEvent((event) => reconciler.onProcessEvent(event));
    await connectPm2(ports.processes, log);

    // 5. Shared folder and input files, cards; then the loop: installation, instances, canary, ready.
    await inputs.start();
    await core.refreshInputs();
    core.surveys.start();
    await core.surveys.gpus();
    reconciler.start();
    const proof = { ports, stateDirectory: layout.state, state, journal, health: () => core.documents().health, version: version.agent };
    void awaitProof(proof, stop).catch((error: unknown) => {
      if (!stop.aborted) log.error({ cause: String(error) }, 'the proof of this agent could not be noted');
    });

    await aborted(stop);
    void reports.stopping();
    journal.record({ type: 'agent.stop', target: 'agent', level: 'info', message: 'the agent stops', data: {} });
    await inputs.close();
    // Owned: what this agent started ends with it, after its jobs. External: instances outlive it.
    if (config.pm2.mode === 'owned') await core.stopInstances(AbortSignal.any([stopNow, AbortSignal.timeout(stopDrainMs(config))]));
    silence();
    await core.close();
    if (config.pm2.mode === 'owned') await endHosted(ports, layout, config, log);
    else await ports.processes.disconnect();
  } finally {
    await reports.close();
    await ownFiles?.stop();
    await api.close();
    await closePorts();
    await lock.release();
    flush();
  }
}

/** The PM2 daemon with its instances; then, whatever became of that, each process with our mark. */
async function endHosted(ports: Ports, layout: Layout, { pm2 }: Config, log: Logger): Promise<void> {
  await ports.processes
    .shutdown()
    .catch((error: unknown) =>
      log.error({ cause: error instanceof Error ? error.message : String(error) }, 'PM2 could not be ended in order'),
    );
  await endEveryInstance(ports, layout.root, pm2.killTimeoutMs, log);
}

async function connectPm2(processes: { connect(): Promise<void> }, log: Logger): Promise<void> {
  try {
    await processes.connect();
  } catch (error) {
    log.error({ cause: error instanceof Error ? error.message : String(error) }, 'PM2 cannot be reached yet');
  }
}

const aborted = (signal: AbortSignal): Promise<void> =>
  new Promise((resolve) => {
    if (signal.aborted) resolve();
    else signal.addEventListener('abort', () => resolve(), { once: true });
  });

const isLoopback = (host: string): boolean => host === 'localhost' || host === '::1' || host.startsWith('127.');
