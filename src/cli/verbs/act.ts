import type { Verb } from '../grammar/verb.ts';
import { drain, gpus, namedGpus, noWait, timeout } from './shared.ts';

/** Verbs that act on instances. */
const GROUP = 'Act:';

export const ACT_VERBS: readonly Verb[] = [
  {
    name: 'start',
    group: GROUP,
    about: 'start instances, and wait until they serve',
    arguments: [gpus],
    options: [noWait, timeout],
    load: async () => (await import('../commands/instances/instances.ts')).start,
  },
  {
    name: 'stop',
    group: GROUP,
    about: 'stop instances; they stay stopped',
    arguments: [gpus],
    options: [drain, noWait, timeout],
    load: async () => (await import('../commands/instances/instances.ts')).stop,
  },
  {
    name: 'restart',
    group: GROUP,
    about: 'restart instances, and wait until they serve',
    arguments: [gpus],
    options: [drain, noWait, timeout],
    load: async () => (await import('../commands/instances/instances.ts')).restart,
  },
  {
    name: 'drain',
    group: GROUP,
    about: 'finish running jobs, then stop',
    arguments: [namedGpus],
    options: [noWait, timeout],
    load: async () => (await import('../commands/instances/instances.ts')).drain,
  },
  {
    name: 'cordon',
    group: GROUP,
    about: 'let running jobs go on, take no new ones',
    arguments: [namedGpus],
    load: async () => (await import('../commands/instances/cordon.ts')).cordon,
  },
  {
    name: 'uncordon',
    group: GROUP,
    about: 'take jobs again',
    arguments: [namedGpus],
    load: async () => (await import('../commands/instances/cordon.ts')).uncordon,
  },
  {
    name: 'unquarantine',
    group: GROUP,
    about: 'try again an instance that ended too often',
    arguments: [namedGpus],
    load: async () => (await import('../commands/instances/cordon.ts')).unquarantine,
  },
  {
    name: 'cleanup',
    group: GROUP,
    about: 'delete temporary files, outputs, old releases and caches as `cleanup` in the configuration says',
    options: [{ flags: '--dry-run', about: 'show what would be deleted, and delete nothing' }, noWait, timeout],
    load: async () => (await import('../commands/upkeep/cleanup.ts')).cleanup,
  },
];
