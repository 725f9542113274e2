import type { Verb } from './verb.ts';

/** Verbs about the agent itself. */
const GROUP = 'The agent itself:';

export const AGENT_VERBS: readonly Verb[] = [
  {
    name: 'run',
    group: GROUP,
    about: 'the agent, in the foreground (systemd starts this)',
    options: [
      { flags: '--port <port>', about: 'HTTP port (0: the kernel chooses)', kind: 'port' },
      { flags: '--host <address>', about: 'HTTP address', kind: 'text' },
    ],
    load: async () => (await import('../commands/run.ts')).run,
  },
  {
    name: 'config',
    group: GROUP,
    about: 'effective values and where each came from',
    arguments: [
      {
        name: '[action]',
        about: 'show: values, secrets masked (default); check: read all files and list every problem; schema: JSON Schema',
        choices: ['show', 'check', 'schema'],
      },
    ],
    load: async () => (await import('../commands/config.ts')).config,
  },
  {
    name: 'version',
    group: GROUP,
    about: 'versions of the agent and what it is made of',
    load: async () => (await import('../commands/version.ts')).version,
  },
  {
    name: 'licenses',
    group: GROUP,
    about: 'what the program is made of, and under which licences',
    arguments: [{ name: '[name]', about: 'one part: the text of its licence' }],
    load: async () => (await import('../commands/licenses.ts')).licenses,
  },
];
