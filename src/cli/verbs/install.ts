import type { Verb } from '../grammar/verb.ts';
import { noWait, timeout } from './shared.ts';

/** Verbs about what is installed. */
const GROUP = 'Install:';

export const INSTALL_VERBS: readonly Verb[] = [
  {
    name: 'install',
    group: GROUP,
    about: 'bring the installation to what the configuration asks for',
    options: [
      { flags: '--locked', about: 'refuse what agent.lock.json does not say' },
      { flags: '--verify', about: 'compare the release in place with its lock, and touch nothing; exit 1 when it differs' },
      { flags: '--dry-run', about: 'show what would be done, and do nothing' },
      { flags: '--bundle <file>', about: 'from an offline bundle alone: no network is used', kind: 'text', completes: 'file' },
      noWait,
      timeout,
    ],
    load: async () => (await import('../commands/installation/install.ts')).install,
  },
  {
    name: 'reinstall',
    group: GROUP,
    about: 'build a new release from scratch; the present one serves until the new one is proved',
    options: [
      { flags: '--clean', about: 'drop all caches first' },
      { flags: '--dry-run', about: 'show what would be done, and do nothing' },
      noWait,
      timeout,
    ],
    load: async () => (await import('../commands/installation/install.ts')).reinstall,
  },
  {
    name: 'update',
    group: GROUP,
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
    load: async () => (await import('../commands/installation/update.ts')).update,
  },
  {
    name: 'import',
    group: GROUP,
    about: 'make config_nodes.json of a snapshot of ComfyUI-Manager or Comfy Desktop, and tell what it does not record',
    arguments: [{ name: '<file>', about: 'the snapshot, JSON or YAML', completes: 'file' }],
    options: [
      {
        flags: '--output <file>',
        about: 'write there (default: the config_nodes.json that the configuration names)',
        kind: 'text',
        completes: 'file',
      },
      { flags: '--force', about: 'replace a file that is there' },
    ],
    examples: ['agent import snapshot.json', 'agent import snapshot.json --output nodes.json'],
    load: async () => (await import('../commands/installation/snapshot.ts')).importSnapshot,
  },
  {
    name: 'export',
    group: GROUP,
    about: 'the release in place as a snapshot for others, on stdout',
    options: [
      { flags: '--format <format>', about: 'manager (default) or desktop', kind: 'text', choices: ['manager', 'desktop'] },
      { flags: '--output <file>', about: 'write there', kind: 'text', completes: 'file' },
      { flags: '--force', about: 'replace a file that is there' },
    ],
    examples: ['agent export > snapshot.json', 'agent export --format desktop --output desktop.json'],
    load: async () => (await import('../commands/installation/snapshot.ts')).exportSnapshot,
  },
  {
    name: 'rollback',
    group: GROUP,
    about: 'go back to a proved release at once; instances follow one GPU after the other, each after its jobs',
    arguments: [
      { name: '[release]', about: 'as `agent releases` names it (default: the proved one before the current one)', completes: 'release' },
    ],
    options: [
      { flags: '--dry-run', about: 'show which release would be used and what differs, and do nothing' },
      { flags: '--now', about: 'move all instances side by side, each when it is idle' },
      noWait,
      timeout,
    ],
    examples: ['agent rollback', 'agent rollback 20261121-041500-3fb07a80 --now'],
    load: async () => (await import('../commands/installation/rollback.ts')).rollback,
  },
  {
    name: 'bundle',
    group: GROUP,
    about: 'write everything that agent.lock.json names into one archive; `agent install --bundle` installs it without a network',
    arguments: [
      { name: '<action>', about: 'create: write a new archive', choices: ['create'] },
      { name: '<file>', about: 'the archive, a .tar that is not there yet', completes: 'file' },
    ],
    options: [{ flags: '--with-models', about: 'model files of the lock go in too' }, noWait, timeout],
    examples: ['agent bundle create /media/usb/comfyui.tar', 'agent install --bundle /media/usb/comfyui.tar'],
    load: async () => (await import('../commands/installation/bundle.ts')).bundle,
  },
  {
    name: 'doctor',
    group: GROUP,
    about: 'look for what would keep it from working, each with a remedy',
    load: async () => (await import('../commands/doctor/doctor.ts')).doctor,
  },
];
