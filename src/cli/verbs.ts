import type { Command } from './context.ts';

/** What people type: every verb with its arguments and options. The code behind a verb is loaded when it is used. */

export type OptionKind = 'duration' | 'count' | 'port' | 'text' | 'texts';

export interface VerbOption {
  /** As commander writes them: `--timeout <duration>`. */
  readonly flags: string;
  readonly about: string;
  /** How the value is read; absent: a switch. */
  readonly kind?: OptionKind;
}

export interface VerbArgument {
  /** `<gpu>`, `[gpu...]`. */
  readonly name: string;
  readonly about: string;
  readonly choices?: readonly string[];
}

export interface Verb {
  readonly name: string;
  readonly group: string;
  readonly about: string;
  readonly arguments?: readonly VerbArgument[];
  readonly options?: readonly VerbOption[];
  readonly examples?: readonly string[];
  readonly load: () => Promise<Command>;
}

const LOOK = 'Look:';
const ACT = 'Act:';
const INSTALL = 'Install:';
const AGENT = 'The agent itself:';

const gpus: VerbArgument = { name: '[gpu...]', about: 'GPU indexes or UUIDs; none, or "all": every instance' };
const namedGpus: VerbArgument = { name: '<gpu...>', about: 'GPU indexes or UUIDs, or "all"' };
const timeout: VerbOption = {
  flags: '--timeout <duration>',
  about: 'give up waiting after this long (90s, 10m); exit 6',
  kind: 'duration',
};
const noWait: VerbOption = { flags: '--no-wait', about: 'ask for it and come back at once' };
const drain: VerbOption = { flags: '--drain', about: 'let running jobs finish first' };

export const VERBS: readonly Verb[] = [
  {
    name: 'status',
    group: LOOK,
    about: 'the machine on one screen; exit 3 when it does not serve, 4 when no agent runs',
    load: async () => (await import('./commands/status.ts')).status,
  },
  {
    name: 'health',
    group: LOOK,
    about: 'health by layer, with reasons; exit 0 healthy or degraded and serving, 3 not',
    arguments: [
      { name: '[what]', about: 'which document (default: all layers)', choices: ['installation', 'instances', 'instance', 'models'] },
      { name: '[gpu]', about: 'for "instance": GPU index or UUID' },
    ],
    examples: ['agent health', 'agent health instance 0', 'agent health installation --json'],
    load: async () => (await import('./commands/health.ts')).health,
  },
  {
    name: 'plan',
    group: LOOK,
    about: 'what the agent would do now, and what holds it',
    load: async () => (await import('./commands/plan.ts')).plan,
  },
  { name: 'gpus', group: LOOK, about: 'cards with UUID, memory and owner', load: async () => (await import('./commands/tables.ts')).gpus },
  {
    name: 'ports',
    group: LOOK,
    about: 'port leases, and who holds the ports',
    load: async () => (await import('./commands/tables.ts')).ports,
  },
  { name: 'discovery', group: LOOK, about: 'what workers are told', load: async () => (await import('./commands/tables.ts')).discovery },
  { name: 'releases', group: LOOK, about: 'installations on disk', load: async () => (await import('./commands/tables.ts')).releases },
  {
    name: 'logs',
    group: LOOK,
    about: 'log lines of an instance, the agent, the installation or all',
    arguments: [{ name: '[source]', about: 'GPU index, agent, install, pm2 or all (default: all)' }],
    options: [
      { flags: '-f, --follow', about: 'stay and show new lines' },
      { flags: '-n, --lines <count>', about: 'how many of the newest lines of each log (default: 50)', kind: 'count' },
      {
        flags: '--since <time>',
        about: 'only lines known to be newer: 10m, or an ISO time (lines without a time count with those before them)',
        kind: 'text',
      },
      {
        flags: '--export <file>',
        about: 'write one .tar.gz for a support request: logs, documents and journal, secrets masked',
        kind: 'text',
      },
    ],
    examples: ['agent logs 0 -f', 'agent logs agent --since 10m', 'agent logs --export support.tar.gz'],
    load: async () => (await import('./commands/logs.ts')).logs,
  },
  {
    name: 'wait',
    group: LOOK,
    about: 'block until it is so; waits for the agent too',
    arguments: [
      {
        name: '<state>',
        about: 'ready: jobs can be taken; healthy: nothing is wrong; installed: a release is in place',
        choices: ['ready', 'healthy', 'installed'],
      },
      { name: '[gpu]', about: 'GPU index or UUID; none: the machine' },
    ],
    options: [timeout],
    examples: ['agent wait ready --timeout 10m', 'agent wait healthy 0'],
    load: async () => (await import('./commands/wait.ts')).wait,
  },
  {
    name: 'start',
    group: ACT,
    about: 'start instances, and wait until they serve',
    arguments: [gpus],
    options: [noWait, timeout],
    load: async () => (await import('./commands/instances.ts')).start,
  },
  {
    name: 'stop',
    group: ACT,
    about: 'stop instances; they stay stopped',
    arguments: [gpus],
    options: [drain, noWait, timeout],
    load: async () => (await import('./commands/instances.ts')).stop,
  },
  {
    name: 'restart',
    group: ACT,
    about: 'restart instances, and wait until they serve',
    arguments: [gpus],
    options: [drain, noWait, timeout],
    load: async () => (await import('./commands/instances.ts')).restart,
  },
  {
    name: 'drain',
    group: ACT,
    about: 'finish running jobs, then stop',
    arguments: [namedGpus],
    options: [noWait, timeout],
    load: async () => (await import('./commands/instances.ts')).drain,
  },
  {
    name: 'cordon',
    group: ACT,
    about: 'let running jobs go on, take no new ones',
    arguments: [namedGpus],
    load: async () => (await import('./commands/cordon.ts')).cordon,
  },
  {
    name: 'uncordon',
    group: ACT,
    about: 'take jobs again',
    arguments: [namedGpus],
    load: async () => (await import('./commands/cordon.ts')).uncordon,
  },
  {
    name: 'unquarantine',
    group: ACT,
    about: 'try again an instance that ended too often',
    arguments: [namedGpus],
    load: async () => (await import('./commands/cordon.ts')).unquarantine,
  },
  {
    name: 'cleanup',
    group: ACT,
    about: 'delete temporary files, outputs, old releases and caches as `cleanup` in the configuration says',
    options: [{ flags: '--dry-run', about: 'show what would be deleted, and delete nothing' }, noWait, timeout],
    load: async () => (await import('./commands/cleanup.ts')).cleanup,
  },
  {
    name: 'install',
    group: INSTALL,
    about: 'bring the installation to what the configuration asks for',
    options: [
      { flags: '--locked', about: 'refuse what agent.lock.json does not say' },
      { flags: '--verify', about: 'compare the release in place with its lock, and touch nothing; exit 1 when it differs' },
      { flags: '--dry-run', about: 'show what would be done, and do nothing' },
      { flags: '--bundle <file>', about: 'from an offline bundle alone: no network is used', kind: 'text' },
      noWait,
      timeout,
    ],
    load: async () => (await import('./commands/install.ts')).install,
  },
  {
    name: 'reinstall',
    group: INSTALL,
    about: 'build a new release from scratch; the present one serves until the new one is proved',
    options: [
      { flags: '--clean', about: 'drop all caches first' },
      { flags: '--dry-run', about: 'show what would be done, and do nothing' },
      noWait,
      timeout,
    ],
    load: async () => (await import('./commands/install.ts')).reinstall,
  },
  {
    name: 'update',
    group: INSTALL,
    about: 'move pins of agent.lock.json, show the difference, and install it; the present release serves until the new one is proved',
    options: [
      { flags: '--all', about: 'ComfyUI, every node pack and every Python package' },
      { flags: '--core [ref]', about: 'ComfyUI, to its newest commit or to this branch, tag or commit' },
      { flags: '--pack <name[@ref]>', about: 'a node pack, in the same way; may be repeated', kind: 'texts' },
      { flags: '--dry-run', about: 'show the difference, and do nothing' },
      noWait,
      timeout,
    ],
    examples: ['agent update --all --dry-run', 'agent update --pack ComfyUI-KJNodes --pack rgthree-comfy@main'],
    load: async () => (await import('./commands/update.ts')).update,
  },
  {
    name: 'import',
    group: INSTALL,
    about: 'make config_nodes.json of a snapshot of ComfyUI-Manager or Comfy Desktop, and tell what it does not record',
    arguments: [{ name: '<file>', about: 'the snapshot, JSON or YAML' }],
    options: [
      { flags: '--output <file>', about: 'write there (default: the config_nodes.json that the configuration names)', kind: 'text' },
      { flags: '--force', about: 'replace a file that is there' },
    ],
    examples: ['agent import snapshot.json', 'agent import snapshot.json --output nodes.json'],
    load: async () => (await import('./commands/snapshot.ts')).importSnapshot,
  },
  {
    name: 'export',
    group: INSTALL,
    about: 'the release in place as a snapshot for others, on stdout',
    options: [
      { flags: '--format <format>', about: 'manager (default) or desktop', kind: 'text' },
      { flags: '--output <file>', about: 'write there', kind: 'text' },
      { flags: '--force', about: 'replace a file that is there' },
    ],
    examples: ['agent export > snapshot.json', 'agent export --format desktop --output desktop.json'],
    load: async () => (await import('./commands/snapshot.ts')).exportSnapshot,
  },
  {
    name: 'rollback',
    group: INSTALL,
    about: 'go back to a proved release at once; instances follow one GPU after the other, each after its jobs',
    arguments: [{ name: '[release]', about: 'as `agent releases` names it (default: the proved one before the current one)' }],
    options: [
      { flags: '--dry-run', about: 'show which release would be used and what differs, and do nothing' },
      { flags: '--now', about: 'move all instances side by side, each when it is idle' },
      noWait,
      timeout,
    ],
    examples: ['agent rollback', 'agent rollback 20261121-041500-3fb07a80 --now'],
    load: async () => (await import('./commands/rollback.ts')).rollback,
  },
  {
    name: 'bundle',
    group: INSTALL,
    about: 'write everything that agent.lock.json names into one archive; `agent install --bundle` installs it without a network',
    arguments: [
      { name: '<action>', about: 'create: write a new archive', choices: ['create'] },
      { name: '<file>', about: 'the archive, a .tar that is not there yet' },
    ],
    options: [{ flags: '--with-models', about: 'model files of the lock go in too' }, noWait, timeout],
    examples: ['agent bundle create /media/usb/comfyui.tar', 'agent install --bundle /media/usb/comfyui.tar'],
    load: async () => (await import('./commands/bundle.ts')).bundle,
  },
  {
    name: 'doctor',
    group: INSTALL,
    about: 'look for what would keep it from working, each with a remedy',
    load: async () => (await import('./commands/doctor.ts')).doctor,
  },
  {
    name: 'run',
    group: AGENT,
    about: 'the agent, in the foreground (systemd starts this)',
    options: [
      { flags: '--port <port>', about: 'HTTP port (0: the kernel chooses)', kind: 'port' },
      { flags: '--host <address>', about: 'HTTP address', kind: 'text' },
    ],
    load: async () => (await import('./commands/run.ts')).run,
  },
  {
    name: 'config',
    group: AGENT,
    about: 'effective values and where each came from',
    arguments: [
      {
        name: '[action]',
        about: 'show: values, secrets masked (default); check: read all files and list every problem; schema: JSON Schema',
        choices: ['show', 'check', 'schema'],
      },
    ],
    load: async () => (await import('./commands/config.ts')).config,
  },
  {
    name: 'version',
    group: AGENT,
    about: 'versions of the agent and what it is made of',
    load: async () => (await import('./commands/version.ts')).version,
  },
];
