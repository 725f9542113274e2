import { type Command as Commander, CommanderError } from 'commander';
import { AgentError, asAgentError } from '../domain/errors/errors.ts';
import { ExitCode } from '../domain/errors/registry.ts';
import type { Context, Options } from './context.ts';
import { createGrammar } from './grammar/grammar.ts';
import type { Verb } from './grammar/verb.ts';
import type { CliHost } from './host.ts';
import { createContext, type GlobalValues } from './output.ts';
import { reportError } from './report-error.ts';
import { VERBS } from './verbs/verbs.ts';

interface Parsed {
  readonly verb: Verb;
  readonly args: readonly string[];
  readonly options: Options;
  readonly global: GlobalValues;
  /** Help of this verb was shown; what else there is to tell of it may follow. */
  readonly isHelp: boolean;
}

/** Reads the command line and runs its verb; errors are told here and become the exit code. */
export async function runProgram(argv: readonly string[], host: CliHost): Promise<ExitCode> {
  const json = wantsJson(argv);
  let context: Context = createContext(host, { ...NO_GLOBALS, json, color: !argv.includes('--no-color') });
  try {
    const parsed = parse(argv, host);
    if (parsed === null) return ExitCode.done;
    context = createContext(host, parsed.global);
    if (parsed.isHelp) {
      const { topicOfVerb } = await import('./help/topics.ts');
      host.stdout.write(await topicOfVerb(parsed.verb.name, host, context.selection));
      return ExitCode.done;
    }
    const command = await parsed.verb.load(VERBS);
    return await command(context, parsed.args, parsed.options);
  } catch (thrown) {
    return await reportError(context, asAgentError(thrown));
  }
}

const NO_GLOBALS: GlobalValues = { json: false, config: null, root: null, color: true, quiet: false, verbose: false, flags: [] };

/** For errors of the parser itself: `--json` counts wherever it stands, up to `--`. */
const wantsJson = (argv: readonly string[]): boolean => {
  const end = argv.indexOf('--');
  return (end === -1 ? argv : argv.slice(0, end)).includes('--json');
};

/** @returns null when help of the program or the version was shown. @throws AgentError USAGE */
function parse(argv: readonly string[], host: CliHost): Parsed | null {
  const chosen: { command: Commander; verb: Verb }[] = [];
  const helped: Verb[] = [];
  const first = VERBS.find(({ name }) => name === argv[0]);
  const program = createGrammar({
    version: host.version.agent,
    verbs: first === undefined ? VERBS : [first],
    columns: host.stdout.columns || 100,
    write: (text) => host.stdout.write(text),
    onVerb: (verb, command) => chosen.push({ verb, command }),
    onHelp: (verb) => {
      if (verb !== null) helped.push(verb);
    },
  });
  if (argv.length === 0) {
    program.outputHelp();
    return null;
  }
  try {
    program.parse(argv, { from: 'user' });
  } catch (error) {
    if (!(error instanceof CommanderError)) throw error;
    const [verb] = helped;
    if (error.exitCode === 0)
      return verb === undefined ? null : { verb, args: [], options: {}, global: globalsOf(program.opts()), isHelp: true };
    throw usageError(error, argv);
  }
  const [found] = chosen;
  if (found === undefined) throw new AgentError('USAGE', 'no verb was given', { help: '`agent --help` lists them' });
  const all = found.command.optsWithGlobals() as Options;
  return { verb: found.verb, args: found.command.args, options: found.command.opts() as Options, global: globalsOf(all), isHelp: false };
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
  const meant = /Did you mean (?:one of )?(.{1,300})\?/.exec(rest.join(' '))?.[1];
  const verb = VERBS.find(({ name }) => argv.includes(name))?.name;
  const message = first
    .replace(/unknown command '(.*)'/, 'there is no verb "$1"')
    .replace(/unknown option '(.*)'/, 'there is no option $1')
    .replace(/^command-argument value '(.{0,300}?)' is invalid for argument '(.{0,300}?)'\. /, '"$1" is not possible for $2; ')
    .replace(/^option '(.{0,300}?)' argument '(.{0,300}?)' is invalid\. /, '$1 cannot be "$2"; ')
    .replace(/^Allowed choices are (.*)\.$/, 'possible: $1')
    .replace(/; Allowed choices are (.{0,1000})\.$/, '; possible: $1')
    .replace(/\.$/, '');
  const look =
    verb === undefined || error.code === 'commander.unknownCommand'
      ? '`agent --help` lists all verbs'
      : `\`agent ${verb} --help\` tells how`;
  const nearest =
    meant === undefined ? '' : error.code === 'commander.unknownCommand' ? `did you mean \`agent ${meant}\`? ` : `did you mean ${meant}? `;
  return new AgentError('USAGE', message, { help: `${nearest}${look}` });
}
