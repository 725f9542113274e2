import type { Config, Layout } from '../../domain/configuration/config.ts';
import { instanceName } from '../../domain/identity.ts';
import type { Release } from '../../domain/installation/release.ts';
import type { DesiredInstance, InstanceLaunch } from '../../domain/instances/instance.ts';
import { digestOf } from '../../domain/text/digest.ts';
import { constraintVariables } from '../installation/python.ts';

export interface LaunchInput {
  readonly config: Config;
  readonly layout: Layout;
  readonly instance: Pick<DesiredInstance, 'gpu' | 'name' | 'mode' | 'visibleDevices'>;
  readonly release: Pick<Release, 'id' | 'python' | 'flags' | 'constraints'>;
  readonly tcpPort: number;
  readonly modelPathsFile: string;
  /** Of its content, so that a changed file is a changed launch. */
  readonly modelPathsDigest: string;
  /** Variables of the agent that an instance may have: PATH, HOME, LANG, proxies. Never secrets. */
  readonly inherited: Readonly<Record<string, string>>;
  /** CPUs near the card, as a list of the kernel; null: not known, or all are. */
  readonly localCpus?: string | null;
  /** Replaces the instance's own directories; used by the trial start. */
  readonly directory?: string;
  readonly logFile?: string;
}

/** Names of the agent's environment that every instance gets. */
export const INHERITED_NAMES = [
  'PATH',
  'HOME',
  'LANG',
  'LC_ALL',
  'TZ',
  'LD_LIBRARY_PATH',
  'http_proxy',
  'https_proxy',
  'no_proxy',
  'HTTP_PROXY',
  'HTTPS_PROXY',
  'NO_PROXY',
  'SSL_CERT_FILE',
  'REQUESTS_CA_BUNDLE',
  'HF_HOME',
  'HF_ENDPOINT',
] as const;

/** Git refuses repositories of another user, which those of a release are where ComfyUI has a user of its own. */
export const gitTrust = ({ users }: Pick<Config, 'users'>): Readonly<Record<string, string>> =>
  users.comfyui === null ? {} : { GIT_CONFIG_COUNT: '1', GIT_CONFIG_KEY_0: 'safe.directory', GIT_CONFIG_VALUE_0: '*' };

/** Directories of one instance. */
export const instanceDirectories = (layout: Layout, gpu: number) => ({
  base: `${layout.instances}/gpu${gpu}`,
  temp: `${layout.instances}/gpu${gpu}/temp`,
  user: `${layout.instances}/gpu${gpu}/user`,
  output: `${layout.outputs}/gpu${gpu}`,
});

export const instanceLogFile = (layout: Layout, gpu: number): string => `${layout.logs}/${instanceName(gpu)}.log`;

/** Holds a sitecustomize.py that tells the log when a thread is ended by sys.exit (assets/witness). */
export const witnessDirectory = (layout: Layout): string => `${layout.instances}/witness`;

/** What exactly one instance runs: interpreter, arguments, whole environment. Pure, so that a change of it can be seen. */
export function instanceLaunch(input: LaunchInput): InstanceLaunch {
  const { config, layout, instance, release, tcpPort, inherited } = input;
  const own = instanceDirectories(layout, instance.gpu);
  const directories =
    input.directory === undefined
      ? own
      : { base: input.directory, temp: `${input.directory}/temp`, user: `${input.directory}/user`, output: `${input.directory}/output` };
  const releaseDirectory = `${layout.releases}/${release.id}`;
  const python = `${releaseDirectory}/${release.python}`;
  const flags = new Set(release.flags);
  const optional = (flag: string, value: string): string[] => (flags.has(flag) ? [flag, value] : []);
  const mainArguments = [
    '--listen',
    config.comfyui.listen,
    '--port',
    String(tcpPort),
    '--output-directory',
    directories.output,
    '--temp-directory',
    directories.temp,
    '--input-directory',
    layout.inputs,
    '--user-directory',
    directories.user,
    '--extra-model-paths-config',
    input.modelPathsFile,
    ...(instance.mode === 'cpu' ? ['--cpu'] : []),
    // Without it the database lies in the checkout, which all instances share (reference comfyui.md section 7).
    ...optional('--database-url', `sqlite:///${directories.user}/comfyui.db`),
    ...config.comfyui.arguments,
  ];
  const virtualEnvironment = python.slice(0, python.lastIndexOf('/bin/'));
  return {
    name: instance.name,
    gpu: instance.gpu,
    python,
    checkout: `${releaseDirectory}/ComfyUI`,
    arguments: mainArguments,
    environment: {
      ...inherited,
      ...gitTrust(config),
      // Packs run pip while they are imported.
      ...(release.constraints === null ? {} : constraintVariables(`${releaseDirectory}/${release.constraints}`)),
      ...config.comfyui.environment,
      PATH: `${virtualEnvironment}/bin:${inherited['PATH'] ?? '/usr/local/bin:/usr/bin:/bin'}`,
      VIRTUAL_ENV: virtualEnvironment,
      PYTHONUNBUFFERED: '1',
      PYTHONPATH: [witnessDirectory(layout), config.comfyui.environment['PYTHONPATH']].filter((path) => path !== undefined).join(':'),
      PYTHONPYCACHEPREFIX: `${layout.bytecode}/${release.id}`,
      CUDA_VISIBLE_DEVICES: instance.visibleDevices,
      ...(config.gpu.pin === 'index' && instance.mode === 'gpu' ? { CUDA_DEVICE_ORDER: 'PCI_BUS_ID' } : {}),
      AGENT_INSTANCE: instance.name,
      AGENT_RELEASE: release.id,
      AGENT_ROOT: layout.root,
      AGENT_MODEL_PATHS: input.modelPathsDigest,
    },
    logFile: input.logFile ?? instanceLogFile(layout, instance.gpu),
    killTimeoutMs: config.pm2.killTimeoutMs,
    restartDelayMs: config.pm2.restartDelayMs,
    release: release.id,
    ...scheduling(input),
  };
}

/** Left out when nothing is asked for, so that a launch without it keeps its identity. */
function scheduling({ config, instance, localCpus = null }: LaunchInput): Pick<InstanceLaunch, 'scheduling'> {
  const { cpuAffinity, nice } = config.instances;
  const cpus =
    cpuAffinity === 'off'
      ? null
      : cpuAffinity === 'auto'
        ? instance.mode === 'gpu'
          ? localCpus
          : null
        : (cpuAffinity[String(instance.gpu)] ?? null);
  return cpus === null && nice === 0 ? {} : { scheduling: { cpus, nice } };
}

/** The port it is told to listen on. */
export const launchPort = ({ arguments: words }: InstanceLaunch): string => words[words.indexOf('--port') + 1] ?? '';

/** Identity of a launch: an instance that runs another one is to be replaced. */
export const launchDigest = (launch: InstanceLaunch): string => digestOf(launch).slice(0, 16);
