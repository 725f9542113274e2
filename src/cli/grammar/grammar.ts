import { Argument, Command as Commander, InvalidArgumentError, Option } from 'commander';
import { ExitCode, exitCodeMeanings } from '../../domain/errors/registry.ts';
import { parseDuration } from '../render/duration.ts';
import { GLOBAL_OPTIONS, HELP_OPTION, PROGRAM_ABOUT, VERSION_OPTION } from './global.ts';
import type { OptionKind, Verb, VerbOption } from './verb.ts';

export interface GrammarOptions {
  readonly version: string;
  /** A command line that begins with one needs no other, and making them takes time. */
  readonly verbs: readonly Verb[];
  /** Width for help. */
  readonly columns: number;
  readonly write: (text: string) => void;
  /** A verb was typed, with valid options. */
  readonly onVerb: (verb: Verb, command: Commander) => void;
  /** Help of this verb (null: of the program) was just written. */
  readonly onHelp: (verb: Verb | null) => void;
}

/** The command line as commander knows it, made of the verbs; it neither prints errors nor ends the program. */
export function createGrammar({ version, verbs, columns, write, onVerb, onHelp }: GrammarOptions): Commander {
  const program = new Commander('agent');
  const output = {
    writeOut: write,
    writeErr: () => undefined,
    outputError: () => undefined,
    getOutHelpWidth: () => columns,
  };
  const settle = (command: Commander, verb: Verb | null): Commander =>
    command
      .exitOverride()
      .configureOutput(output)
      .showHelpAfterError(false)
      .allowExcessArguments(false)
      .configureHelp({ showGlobalOptions: true })
      .helpOption(HELP_OPTION.flags, HELP_OPTION.about)
      .on('afterHelp', () => onHelp(verb));
  settle(program, null)
    .description(PROGRAM_ABOUT)
    .usage('<verb> [options]')
    .version(`comfylet ${version}`, VERSION_OPTION.flags, VERSION_OPTION.about)
    .helpCommand(false)
    .addHelpText('after', `\n${closing()}`);
  for (const option of GLOBAL_OPTIONS) program.addOption(optionOf(option));
  for (const verb of verbs) {
    const command = settle(program.command(verb.name, { hidden: verb.hidden === true }), verb)
      .description(verb.about)
      .helpGroup(verb.group);
    for (const { name, about, choices } of verb.arguments ?? []) {
      const argument = new Argument(name, about);
      command.addArgument(choices === undefined ? argument : argument.choices([...choices]));
    }
    for (const option of verb.options ?? []) command.addOption(optionOf(option));
    if (verb.examples !== undefined)
      command.addHelpText('after', `\nExamples:\n${verb.examples.map((example) => `  ${example}`).join('\n')}`);
    command.action(() => onVerb(verb, command));
  }
  return program;
}

const closing = (): string => {
  const codes = Object.entries(ExitCode).map(([name, code]) => `${code} ${exitCodeMeanings[name as keyof typeof ExitCode]}`);
  return `Exit codes: ${codes.join(', ')}.\n\`agent <verb> --help\` tells more of each, \`agent help\` of the rest.`;
};

function optionOf({ flags, about, kind, choices }: VerbOption): Option {
  const option = new Option(flags, about);
  if (choices !== undefined) return option.choices([...choices]);
  return kind === undefined ? option : option.argParser(readers[kind]);
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
