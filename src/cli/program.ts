import { Argument, Command as Commander, CommanderError, InvalidArgumentError, Option } from 'commander';
import { AgentError, asAgentError, ExitCode } from '../domain/errors.ts';
import type { Context, Options } from './context.ts';
import { parseDuration } from './duration.ts';
import type { CliHost } from './host.ts';
import { createContext, type GlobalValues } from './output.ts';
import { reportError } from './report-error.ts';
import type { OptionKind, Verb } from './verbs/verb.ts';
import { VERBS } from './verbs.ts';

interface Parsed {
  readonly verb: Verb;
  readonly args: readonly string[];
  readonly options: Options;
  readonly global: GlobalValues;
}

/** Reads the command line and runs its verb; errors are told here and become the exit code. */
export async function runProgram(argv: readonly string[], host: CliHost): Promise<ExitCode> {
  const json = wantsJson(argv);
  let context: Context = createContext(host, { ...NO_GLOBALS, json, color: !argv.includes('--no-color') });
  try {
    const parsed = parse(argv, host);
    if (parsed === null) return ExitCode.done;
    context = createContext(host, parsed.global);
    const command = await parsed.verb.load();
    return await command(context, parsed.args, parsed.options);
  } catch (thrown) {
    return reportError(context, asAgentError(thrown));
  }
}

const NO_GLOBALS: GlobalValues = { json: false, config: null, root: null, color: true, quiet: false, verbose: false, flags: [] };

/** For errors of the parser itself: `--json` counts wherever it stands, up to `--`. */
const wantsJson = (argv: readonly string[]): boolean => {
  const end = argv.indexOf('--');
  return (end === -1 ? argv : argv.slice(0, end)).includes('--json');
};

/** @returns null when help or the version was shown. @throws AgentError USAGE */
function parse(argv: readonly string[], host: CliHost): Parsed | null {
  const chosen: { command: Commander; verb: Verb }[] = [];
  const program = describe(host, (verb, command) => chosen.push({ verb, command }));
  if (argv.length === 0) {
    program.outputHelp();
    return null;
  }
  try {
    program.parse(argv, { from: 'user' });
  } catch (error) {
    if (!(error instanceof CommanderError)) throw error;
    if (error.exitCode === 0) return null;
    throw usageError(error, argv);
  }
  const [found] = chosen;
  if (found === undefined) throw new AgentError('USAGE', 'no verb was given', { help: '`agent --help` lists them' });
  const all = found.command.optsWithGlobals() as Options;
  return { verb: found.verb, args: found.command.args, options: found.command.opts() as Options, global: globalsOf(all) };
}

function describe(host: CliHost, onVerb: (verb: Verb, command: Commander) => void): Commander {
  const program = new Commander('agent');
  const output = {
    writeOut: (text: string) => host.stdout.write(text),
    writeErr: () => undefined,
    outputError: () => undefined,
    getOutHelpWidth: () => host.stdout.columns || 100,
  };
  const settle = (command: Commander): Commander =>
    command.exitOverride().configureOutput(output).showHelpAfterError(false).allowExcessArguments(false);
  settle(program)
    .description('Installs ComfyUI, runs one instance per GPU, and tells the truth about their health.')
    .usage('<verb> [options]')
    .version(`comfy-agent ${host.version.agent}`, '-V, --version', 'show the version')
    .helpCommand(false)
    .configureHelp({ showGlobalOptions: true })
    .option('--json', 'results as JSON on stdout')
    .option('--config <file>', 'configuration file')
    .option('--root <directory>', 'root directory')
    .option('--no-color', 'no colours')
    .option('-q, --quiet', 'results and errors only')
    .option('-v, --verbose', 'more detail')
    .addHelpText(
      'after',
      '\nExit codes: 0 done, 1 failed, 2 usage or configuration, 3 not healthy, 4 no agent, 5 held, 6 timed out, 130 interrupted.\n`agent <verb> --help` tells more of each.',
    );
  for (const verb of VERBS) {
    const command = settle(program.command(verb.name))
      .description(verb.about)
      .helpGroup(verb.group)
      .configureHelp({ showGlobalOptions: true });
    for (const { name, about, choices } of verb.arguments ?? []) {
      const argument = new Argument(name, about);
      command.addArgument(choices === undefined ? argument : argument.choices([...choices]));
    }
    for (const { flags, about, kind } of verb.options ?? []) {
      const option = new Option(flags, about);
      command.addOption(kind === undefined ? option : option.argParser(readers[kind]));
    }
    if (verb.examples !== undefined)
      command.addHelpText('after', `\nExamples:\n${verb.examples.map((example) => `  ${example}`).join('\n')}`);
    command.action(() => onVerb(verb, command));
  }
  return program;
}

const readers: Readonly<Record<OptionKind, (text: string, before: unknown) => unknown>> = {
  duration: (text) => parseDuration(text) ?? refuse('write 90s, 10m or 1h30m'),
  count: (text) => (/^\d{1,6}$/.test(text) ? Number(text) : refuse('write a whole number')),
  port: (text) => (/^\d{1,5}$/.test(text) && Number(text) <= 65_535 ? Number(text) : refuse('write a port, 0 to 65535')),
  text: (text) => text,
  texts: (text, before) => [...(Array.isArray(before) ? before : []), text],
};

function refuse(what: string): never {
  throw new InvalidArgumentError(what);
}

function globalsOf(all: Options): GlobalValues {
  const text = (name: string): string | null => (typeof all[name] === 'string' ? all[name] : null);
  const flags = [
    ...(typeof all['port'] === 'number' ? [{ key: 'api.port', value: all['port'], flag: '--port' }] : []),
    ...(text('host') === null ? [] : [{ key: 'api.host', value: text('host'), flag: '--host' }]),
  ];
  return {
    json: all['json'] === true,
    config: text('config'),
    root: text('root'),
    color: all['color'] !== false,
    quiet: all['quiet'] === true,
    verbose: all['verbose'] === true,
    flags,
  };
}

/** commander's words as one error of ours: what is wrong, and what was probably meant. */
function usageError(error: CommanderError, argv: readonly string[]): AgentError {
  const [first = '', ...rest] = error.message.replace(/^error: /, '').split('\n');
  const meant = /Did you mean (?:one of )?(.+)\?/.exec(rest.join(' '))?.[1];
  const verb = VERBS.find(({ name }) => argv.includes(name))?.name;
  const message = first
    .replace(/unknown command '(.*)'/, 'there is no verb "$1"')
    .replace(/unknown option '(.*)'/, 'there is no option $1')
    .replace(/^command-argument value '(.*?)' is invalid for argument '(.*?)'\. /, '"$1" is not possible for $2; ')
    .replace(/^option '(.*?)' argument '(.*?)' is invalid\. /, '$1 cannot be "$2"; ')
    .replace(/^Allowed choices are (.*)\.$/, 'possible: $1')
    .replace(/; Allowed choices are (.*)\.$/, '; possible: $1')
    .replace(/\.$/, '');
  const look =
    verb === undefined || error.code === 'commander.unknownCommand'
      ? '`agent --help` lists all verbs'
      : `\`agent ${verb} --help\` tells how`;
  const nearest =
    meant === undefined ? '' : error.code === 'commander.unknownCommand' ? `did you mean \`agent ${meant}\`? ` : `did you mean ${meant}? `;
  return new AgentError('USAGE', message, { help: `${nearest}${look}` });
}
