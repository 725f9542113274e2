import type { Verb } from '../grammar/verb.ts';
import { timeout } from './shared.ts';

/** Verbs that look and change nothing. */
const GROUP = 'Look:';

export const LOOK_VERBS: readonly Verb[] = [
  {
    name: 'status',
    group: GROUP,
    about: 'the machine on one screen; exit 3 when it does not serve, 4 when no agent runs',
    load: async () => (await import('../commands/health/status.ts')).status,
  },
  {
    name: 'health',
    group: GROUP,
    about: 'health by layer, with reasons; exit 0 healthy or degraded and serving, 3 not',
    arguments: [
      { name: '[what]', about: 'which document (default: all layers)', choices: ['installation', 'instances', 'instance', 'models'] },
      { name: '[gpu]', about: 'for "instance": GPU index or UUID', completes: 'gpu' },
    ],
    examples: ['agent health', 'agent health instance 0', 'agent health installation --json'],
    load: async () => (await import('../commands/health/health.ts')).health,
  },
  {
    name: 'plan',
    group: GROUP,
    about: 'what the agent would do now, and what holds it',
    load: async () => (await import('../commands/health/plan.ts')).plan,
  },
  {
    name: 'gpus',
    group: GROUP,
    about: 'cards with slot, UUID, memory and owner; accept: the present cards are the right ones, missing ones are forgotten',
    arguments: [
      {
        name: '[accept]',
        about: 'frees the slots of missing cards, and gives a replacement the slot of the card it replaces',
        choices: ['accept'],
      },
    ],
    examples: ['agent gpus', 'agent gpus accept'],
    load: async () => (await import('../commands/reports/tables.ts')).gpus,
  },
  {
    name: 'ports',
    group: GROUP,
    about: 'port leases, and who holds the ports',
    load: async () => (await import('../commands/reports/tables.ts')).ports,
  },
  {
    name: 'discovery',
    group: GROUP,
    about: 'what workers are told',
    load: async () => (await import('../commands/reports/tables.ts')).discovery,
  },
  {
    name: 'releases',
    group: GROUP,
    about: 'installations on disk',
    load: async () => (await import('../commands/reports/tables.ts')).releases,
  },
  {
    name: 'logs',
    group: GROUP,
    about: 'log lines of an instance, the agent, the installation or all',
    arguments: [
      {
        name: '[source]',
        about: 'GPU index, agent, install, pm2 or all (default: all)',
        words: ['agent', 'install', 'pm2', 'all'],
        completes: 'gpu',
      },
    ],
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
        completes: 'file',
      },
    ],
    examples: ['agent logs 0 -f', 'agent logs agent --since 10m', 'agent logs --export support.tar.gz'],
    load: async () => (await import('../commands/reports/logs.ts')).logs,
  },
  {
    name: 'wait',
    group: GROUP,
    about: 'block until it is so; waits for the agent too',
    arguments: [
      {
        name: '<state>',
        about: 'ready: jobs can be taken; healthy: nothing is wrong; installed: a release is in place',
        choices: ['ready', 'healthy', 'installed'],
      },
      { name: '[gpu]', about: 'GPU index or UUID; none: the machine', completes: 'gpu' },
    ],
    options: [timeout],
    examples: ['agent wait ready --timeout 10m', 'agent wait healthy 0'],
    load: async () => (await import('../commands/instances/wait.ts')).wait,
  },
];
