import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { createFiles } from './adapters/files/files.ts';
import { silentLog } from './adapters/logs/silent.ts';
import { requireDivided } from './cli/client/access.ts';
import type { CliConfiguration, LocalAgent, Selection } from './cli/host.ts';
import { connectPorts, type PortOptions } from './connect-ports.ts';
import type { VersionDocument } from './domain/agent.ts';
import { Config } from './domain/configuration/config.ts';
import type { DoctorDocument } from './domain/doctor/doctor.ts';
import { AgentError, asAgentError } from './domain/errors/errors.ts';
import type { DeployHost, DeployRequest } from './domain/host/deploy.ts';
import { ConfigurationSource } from './engine/configuration/configuration.ts';
import { prepareRoot } from './engine/configuration/prepare-root.ts';
import { createCore } from './engine/core.ts';
import { examine } from './engine/doctor/doctor.ts';
import { endLeftChildren } from './engine/instances/left-children.ts';
import type { LoadedConfiguration } from './engine/knowledge.ts';
import { requireReadable } from './engine/state/version.ts';
import { layoutOf } from './plan/configuration/layout.ts';
import { quickLocation } from './plan/configuration/quick-location.ts';

export interface LocalContext {
  readonly environment: Readonly<Record<string, string | undefined>>;
  readonly workingDirectory: string;
  readonly version: VersionDocument;
  readonly pid: number;
  readonly daemonCommand: PortOptions['daemonCommand'];
}

const source = (selection: Selection, context: LocalContext): ConfigurationSource =>
  new ConfigurationSource(createFiles(), {
    file: selection.configFile,
    flags: selection.flags,
    environment: context.environment,
    workingDirectory: context.workingDirectory,
  });

export const readConfiguration = (selection: Selection, context: LocalContext): Promise<CliConfiguration> =>
  source(selection, context).load();

/**
 * The engine without daemon, for verbs that work while no agent runs. It looks once and plans, and carries nothing out
 * but the operation it is asked for: no instance is started or stopped.
 */
export async function startInProcess(
  options: Selection & { readonly purpose: 'read' | 'change' },
  context: LocalContext,
): Promise<LocalAgent> {
  const files = createFiles();
  const configuration = await source(options, context).load();
  const { config, layout, secrets } = configuration;
  const isChange = options.purpose === 'change';
  await requireReadable(files, layout.state);
  if (isChange) await requireDivided(layout.root, config.users.comfyui);
  if (isChange) await prepareRoot(files, layout, config.users);
  const lock = isChange ? await files.lock(layout.rootLock, `a command (pid ${context.pid})`) : null;
  const { ports, close } = await connectPorts({
    config,
    layout,
    secrets,
    log: silentLog,
    daemonCommand: context.daemonCommand,
    mayStartPm2: false,
    readOnly: !isChange,
  });
  if (isChange) await endLeftChildren(ports, layout, silentLog);
  const machineName = ports.hardware.hostname();
  const core = await createCore({
    ports,
    log: silentLog,
    configuration,
    version: context.version,
    machineName,
    pid: context.pid,
    isDaemon: false,
    mayWrite: isChange,
    url: () => null,
  });
  await ports.processes.connect().catch(() => undefined);
  await core.refreshInputs();
  // What only people look at is not waited for by what changes something.
  const machine = isChange ? [] : [core.surveys.machine()];
  await Promise.all([core.surveys.gpus(), ...machine, core.surveys.models(), core.resources.look()]);
  await core.reconciler.trigger();
  return {
    agent: core.agent,
    close: async () => {
      await core.close();
      await ports.processes.disconnect();
      await close();
      await lock?.release();
    },
  };
}

/** What ssh needs of the environment of whoever types the command: home, agent and locale. */
const SSH_NAMES = ['PATH', 'HOME', 'USER', 'LOGNAME', 'SSH_AUTH_SOCK', 'LANG', 'LC_ALL'];

/** @throws AgentError USAGE where this program is no single executable and none is named */
export async function deployHosts(
  request: DeployRequest,
  { environment }: LocalContext,
  onChange: (host: DeployHost) => void,
  signal: AbortSignal,
): Promise<readonly DeployHost[]> {
  const { isSea } = await import('node:sea');
  const binary = request.binary ?? (isSea() ? process.execPath : null);
  if (binary === null)
    throw new AgentError('USAGE', 'this program is no single executable, so it cannot be copied', {
      help: 'name the one that `npm run build:binary` made with --binary',
    });
  const [{ deploy }, { createShell }] = await Promise.all([import('./engine/host/deploy/deploy.ts'), import('./adapters/shell/shell.ts')]);
  const own = SSH_NAMES.flatMap((name) => (environment[name] === undefined ? [] : [[name, environment[name]] as const]));
  const shell = createShell({ path: environment['PATH'] ?? '/usr/local/bin:/usr/bin:/bin' });
  return deploy(request, { shell, files: createFiles(), binary, environment: Object.fromEntries(own), onChange, signal });
}

/**
 * Looks without a usable root and with a bad configuration too. git gets a directory of its own for the one question it is
 * asked, so that nothing is left in a root that may belong to another user.
 */
export async function doctor(selection: Selection, context: LocalContext): Promise<DoctorDocument> {
  const scratch = await mkdtemp(`${tmpdir()}/agent-doctor-`);
  try {
    const { configuration, problems } = await usableConfiguration(selection, context);
    const { layout } = configuration;
    const { ports, close } = await connectPorts({
      ...configuration,
      layout: { ...layout, cache: scratch, state: scratch },
      log: silentLog,
      daemonCommand: context.daemonCommand,
      mayStartPm2: false,
      readOnly: true,
    });
    try {
      return await examine(ports, { ...configuration, problems, agentPid: null });
    } finally {
      ports.journal.close();
      await ports.processes.disconnect();
      await close();
    }
  } finally {
    await rm(scratch, { recursive: true, force: true });
  }
}

/** What was asked for, or the defaults and why they had to do. */
async function usableConfiguration(
  selection: Selection,
  context: LocalContext,
): Promise<{ readonly configuration: LoadedConfiguration; readonly problems: readonly string[] }> {
  try {
    return { configuration: await source(selection, context).load(), problems: [] };
  } catch (thrown) {
    const { message, details } = asAgentError(thrown);
    const problems = Array.isArray(details['problems']) ? details['problems'].map(String) : [message];
    const flag = selection.flags.find(({ key }) => key === 'root')?.value;
    const { environment, workingDirectory } = context;
    const location = quickLocation({ rootFlag: typeof flag === 'string' ? flag : null, environment, workingDirectory, fileText: null });
    const config = Config.parse(location === null ? {} : { root: location.root });
    const strings = Object.entries(environment).filter((entry): entry is [string, string] => entry[1] !== undefined);
    const secrets = { token: null, tokenFile: null, sshKey: null, environment: Object.fromEntries(strings) };
    return {
      configuration: { config, layout: layoutOf(config), secrets, provenance: [], file: null, warnings: [], generation: 0, problem: null },
      problems,
    };
  }
}
