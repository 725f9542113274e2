import type { Verb } from '../grammar/verb.ts';
import { timeout } from './shared.ts';

/** As in src/plan/host/provider-profiles.ts, which only `deploy` loads; a test compares them. */
export const PROVIDER_NAMES = ['lambda', 'datacrunch'] as const;

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
    load: async () => (await import('../commands/host/run.ts')).run,
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
    load: async () => (await import('../commands/configuration/config.ts')).config,
  },
  {
    name: 'setup',
    group: GROUP,
    about: 'make this machine run the agent under systemd: users, directories, configuration, units; again it changes only what differs',
    options: [
      { flags: '--dry-run', about: 'show the steps, and change nothing' },
      { flags: '--print', about: 'print the script that does it all on a fresh machine' },
      { flags: '--no-start', about: 'start nothing, and do without a running systemd (images)' },
      { flags: '--legacy', about: 'also /etc/init.d/comfyui and mgpu, as the predecessor had them' },
      { flags: '--prefix <directory>', about: 'the program goes to bin/ there (default: /usr/local)', kind: 'text' },
      { flags: '--uninstall', about: 'the way back; configuration, state, models, outputs and the root stay' },
      { flags: '--purge', about: 'with --uninstall: these as well' },
      { flags: '-y, --yes', about: 'go on in spite of failing checks and of what is in the way; confirms --purge' },
      timeout,
    ],
    examples: ['sudo agent setup --dry-run', 'sudo agent setup --root /srv/comfyui', 'sudo agent setup --uninstall'],
    load: async () => (await import('../commands/host/setup.ts')).setup,
  },
  {
    name: 'upgrade',
    group: GROUP,
    about:
      'put another program in place of this one and restart the agent; ComfyUI goes on, and the old program comes back if the new one fails',
    arguments: [{ name: '[file]', about: 'the new program: a file, or an http(s) URL', completes: 'file' }],
    options: [
      { flags: '--sha256 <digest>', about: 'what it must have; from another place than the file', kind: 'text' },
      {
        flags: '--signature <file>',
        about: 'file or URL of its signature by the key inside this program (default: the same name with .sig)',
        kind: 'text',
      },
      { flags: '--target <file>', about: 'what is replaced (default: this program)', kind: 'text' },
      {
        flags: '--pm2',
        about: 'then also move the daemon of PM2 to it: all jobs finish, every instance restarts (without a file: only that)',
      },
      { flags: '--dry-run', about: 'bring and check it, tell what would change, and change nothing' },
      timeout,
    ],
    examples: ['sudo agent upgrade ./agent --sha256 DIGEST', 'sudo agent upgrade --pm2'],
    load: async () => (await import('../commands/host/upgrade.ts')).upgrade,
  },
  {
    name: '__upgrade-guard',
    group: GROUP,
    about: 'what systemd runs before an agent that has not proved itself',
    hidden: true,
    // Units of earlier versions name the state directory, which decides nothing any more.
    arguments: [{ name: '[state]', about: 'not used' }],
    load: async () => (await import('../commands/host/upgrade/guard.ts')).upgradeGuard,
  },
  {
    name: 'deploy',
    group: GROUP,
    about: 'put the agent on other hosts over ssh: program, configuration, secrets, set-up; waits until they are healthy',
    arguments: [{ name: '<host...>', about: 'as ssh takes them: user@host, or names of ~/.ssh/config', completes: 'host' }],
    options: [
      { flags: '--binary <file>', about: 'the single executable (default: this one)', kind: 'text', completes: 'file' },
      { flags: '--secrets <file>', about: 'NAME=value lines for /etc/comfylet/agent.env', kind: 'text', completes: 'file' },
      { flags: '--provider <name>', about: 'root and block volume as usual there', kind: 'text', choices: PROVIDER_NAMES },
      { flags: '--device <path>', about: 'the block volume, where there are several', kind: 'text', completes: 'file' },
      { flags: '--format', about: 'a block volume that is empty may be formatted' },
      { flags: '--ssh-config <file>', about: 'for ssh, instead of ~/.ssh/config', kind: 'text', completes: 'file' },
      { flags: '--parallel <count>', about: 'hosts at one time (default: 4)', kind: 'count' },
      { flags: '--dry-run', about: 'look at each host, show what would be done, and do nothing' },
      { flags: '--timeout <duration>', about: 'for each host (default: 30m)', kind: 'duration' },
    ],
    examples: [
      'agent deploy ada@gpu-5 ada@gpu-6 --secrets fleet.env --dry-run',
      'agent deploy root@gpu-7 --provider datacrunch --format --dry-run',
    ],
    load: async () => (await import('../commands/host/deploy.ts')).deploy,
  },
  {
    name: 'help',
    group: GROUP,
    about: 'tell more of a verb, a topic or an error code; without a name, list the topics',
    arguments: [{ name: '[name]', about: 'a verb, a topic, or an error code such as PORT_HELD', completes: 'topic' }],
    options: [{ flags: '--man', about: 'the manual page (roff): `agent help --man | man -l -`' }],
    examples: ['agent help exit-codes', 'agent help PORT_HELD', 'agent help --man > agent.1'],
    load: async (verbs) => (await import('../commands/help/help.ts')).help(verbs),
  },
  {
    name: 'completion',
    group: GROUP,
    about: 'a script with which a shell completes verbs, options, values and GPUs',
    arguments: [{ name: '<shell>', about: 'which shell', choices: ['bash', 'zsh', 'fish'] }],
    examples: [
      'source <(agent completion bash)',
      'agent completion bash > /etc/bash_completion.d/agent',
      'agent completion zsh > ~/.zfunc/_agent',
      'agent completion fish > ~/.config/fish/completions/agent.fish',
    ],
    load: async (verbs) => (await import('../commands/help/completion.ts')).completion(verbs),
  },
  {
    name: '__complete',
    group: GROUP,
    about: 'names for completion scripts',
    hidden: true,
    arguments: [{ name: '<what>', about: 'what is asked for', choices: ['gpus', 'releases'] }],
    load: async () => (await import('../commands/help/completion.ts')).complete,
  },
  {
    name: 'version',
    group: GROUP,
    about: 'versions of the agent and what it is made of',
    load: async () => (await import('../commands/help/version.ts')).version,
  },
  {
    name: 'licenses',
    group: GROUP,
    about: 'what the program is made of, and under which licences',
    arguments: [{ name: '[name]', about: 'one part: the text of its licence' }],
    load: async () => (await import('../commands/help/licenses.ts')).licenses,
  },
];
