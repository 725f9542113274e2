import { Option } from 'commander';
import { GLOBAL_OPTIONS, HELP_OPTION, PROGRAM_ABOUT, VERSION_OPTION } from '../grammar/global.ts';
import type { Verb, VerbOption } from '../grammar/verb.ts';
import { flow, type Topic } from './topic.ts';
import { defaultFacts, TOPICS } from './topics.ts';

/** Width of what is shown as it stands: a terminal of 80 columns less the indent of man. */
const COLUMNS = 72;

/** The manual page agent(1) in roff, from the same verbs, options and topics as `--help` and `agent help`; with the default paths. */
export function manPage(all: readonly Verb[]): string {
  const facts = defaultFacts(COLUMNS);
  const verbs = all.filter(({ hidden }) => hidden !== true);
  const groups = [...new Set(verbs.map(({ group }) => group))];
  return `${[
    '.\\" Made from the same source as `agent --help`; do not edit. In the repository: node scripts/generate-man.ts',
    '.TH AGENT 1 "" comfylet "comfylet manual"',
    '.SH NAME',
    'agent \\- install ComfyUI, run one instance per GPU, and tell of their health',
    '.SH SYNOPSIS',
    '.B agent',
    '.I verb',
    '.RI [ arguments ]',
    '.RI [ options ]',
    '.SH DESCRIPTION',
    escaped(PROGRAM_ABOUT),
    'A verb talks to the running agent over its unix socket; several also work where none runs.',
    'Results go to stdout, progress and errors to stderr.',
    '.SH GLOBAL OPTIONS',
    ...[...GLOBAL_OPTIONS, HELP_OPTION, VERSION_OPTION].flatMap(optionEntry),
    '.SH VERBS',
    ...groups.flatMap((group) => [
      `.SS "${escaped(group.replace(/:$/, ''))}"`,
      ...verbs.filter((verb) => verb.group === group).flatMap(verbEntry),
    ]),
    ...TOPICS.flatMap((topic) => topicSection(topic, facts)),
    '.SH SEE ALSO',
    '.BR systemctl (1),',
    '.BR journalctl (1),',
    '.BR nvidia-smi (1)',
  ].join('\n')}\n`;
}

function verbEntry({ name, about, arguments: each = [], options = [], examples = [] }: Verb): string[] {
  const synopsis = [`\\fBagent ${escaped(name)}\\fR`, ...each.map((argument) => `\\fI${escaped(argument.name)}\\fR`)].join(' ');
  return [
    '.TP',
    `${synopsis}${options.length > 0 ? ' [options]' : ''}`,
    `${sentence(about)}`,
    ...(each.length + options.length === 0
      ? []
      : [
          '.RS',
          ...each.flatMap((argument) => [
            '.TP',
            `\\fI${escaped(argument.name)}\\fR`,
            sentence(`${argument.about}${argument.choices === undefined ? '' : ` (${argument.choices.join(', ')})`}`),
          ]),
          ...options.flatMap(optionEntry),
          '.RE',
        ]),
    ...(examples.length === 0 ? [] : ['.RS', '.PP', '.EX', ...examples.map(escaped), '.EE', '.RE']),
  ];
}

function optionEntry({ flags, about, choices }: VerbOption): string[] {
  const { short, long } = new Option(flags);
  const value = /[<[].{1,100}[\]>]/.exec(flags)?.[0];
  const names = [short, long].filter((name) => name !== undefined && name !== null).map((name) => `\\fB${escaped(name)}\\fR`);
  return [
    '.TP',
    `${names.join(', ')}${value === undefined ? '' : ` \\fI${escaped(value)}\\fR`}`,
    sentence(`${about}${choices === undefined ? '' : ` (${choices.join(', ')})`}`),
  ];
}

/** Names that manual pages give to these sections. */
const TITLES: Readonly<Record<string, string>> = { 'exit-codes': 'EXIT STATUS' };

const topicSection = ({ name, about, lines }: Topic, facts: Parameters<Topic['lines']>[0]): string[] => [
  `.SH "${TITLES[name] ?? name.toUpperCase()}"`,
  sentence(about),
  '.PP',
  '.EX',
  ...flow(lines(facts), facts.columns).map(escaped),
  '.EE',
];

const sentence = (text: string): string => escaped(`${text.charAt(0).toUpperCase()}${text.slice(1)}.`);

/** Nothing in a text is a request or an escape of roff; a hyphen can be copied into a terminal. */
const escaped = (text: string): string =>
  text
    .replaceAll('\\', '\\e')
    .replaceAll('-', '\\-')
    .replaceAll('^', '\\(ha')
    .replaceAll('~', '\\(ti')
    .replaceAll('`', '\\(ga')
    .replaceAll('"', '\\(dq')
    .replace(/^[.']/, '\\&$&');
