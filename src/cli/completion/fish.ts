import {
  type CompletedArgument,
  type CompletedOption,
  type CompletedValue,
  type CompletionModel,
  optionsWithValue,
  plainWords,
} from './model.ts';

/** A completion script for fish. */
export function fishCompletion(model: CompletionModel): string {
  const values = optionsWithValue(model);
  const keys = (isOptional: boolean): string[] =>
    values.filter(({ option }) => option.isOptional === isOptional).map(({ key }) => `'${key}'`);
  return `${[
    '# fish completion for agent; made by `agent completion fish`.',
    '# Load it with: agent completion fish | source',
    '',
    '# The verb and its arguments before the cursor, one a line; options and their values are left out.',
    'function __agent_words',
    '    set -l tokens (commandline -opc)',
    '    set -e tokens[1]',
    "    set -l verb ''",
    '    set -l skip no',
    '    set -l only_arguments no',
    '    for token in $tokens',
    '        if test $skip = yes; or begin; test $skip = perhaps; and not string match -q -- "-*" $token; end',
    '            set skip no',
    '            continue',
    '        end',
    '        set skip no',
    '        if test $only_arguments = yes; or not string match -q -- "-*" $token',
    '            echo $token',
    '            test -z "$verb"; and set verb $token',
    '            continue',
    '        end',
    '        switch "$verb:$token"',
    "            case '*:--'",
    '                set only_arguments yes',
    `            case ${keys(false).join(' ')}`,
    '                set skip yes',
    ...(keys(true).length === 0 ? [] : [`            case ${keys(true).join(' ')}`, '                set skip perhaps']),
    '        end',
    '    end',
    'end',
    '',
    'function __agent_without_verb',
    '    test (count (__agent_words)) = 0',
    'end',
    '',
    '# Whether this verb was typed; with a number, whether so many arguments follow it.',
    'function __agent_at',
    '    set -l words (__agent_words)',
    '    test "$words[1]" = $argv[1]; or return 1',
    '    test (count $argv) = 1; or test (count $words) = (math $argv[2] + 1)',
    'end',
    '',
    '# What the running agent knows (at most a second, nothing when there is none).',
    'function __agent_ask',
    '    set -l tokens (commandline -opc)',
    '    set -l globals',
    '    for index in (seq 2 (count $tokens))',
    '        if contains -- $tokens[$index] --root --config; and test $index -lt (count $tokens)',
    '            set -a globals $tokens[$index] $tokens[(math $index + 1)]',
    '        end',
    '    end',
    '    $tokens[1] __complete $argv[1] $globals 2>/dev/null',
    'end',
    '',
    'complete -c agent -f',
    ...model.globals.map((each) => option(each, null)),
    "complete -c agent -n __agent_without_verb -s V -l version -d 'show the version'",
    ...model.verbs.flatMap(({ name, about, options, arguments: each }) => [
      `complete -c agent -n __agent_without_verb -a ${name} -d ${quoted(about)}`,
      ...options.map((described) => option(described, name)),
      ...each.flatMap((argument, index) => argumentLines(argument, name, index)),
    ]),
  ].join('\n')}\n`;
}

function option({ names, about, value, isOptional }: CompletedOption, verb: string | null): string {
  const flags = names.map((name) => (name.startsWith('--') ? `-l ${name.slice(2)}` : `-s ${name.slice(1)}`));
  const takes = value === null ? '' : isOptional ? '' : value.completes === 'file' ? ' -r -F' : ' -x';
  const words = value === null ? null : offer(value);
  return [
    'complete -c agent',
    ...(verb === null ? [] : [`-n '__agent_at ${verb}'`]),
    `${flags.join(' ')}${takes}`,
    ...(words === null ? [] : [`-a ${words}`]),
    `-d ${quoted(about)}`,
  ].join(' ');
}

function argumentLines(argument: CompletedArgument, verb: string, index: number): string[] {
  const place = argument.repeats ? `__agent_at ${verb}` : `__agent_at ${verb} ${index}`;
  const words = offer(argument);
  if (argument.completes === 'file') return [`complete -c agent -n '${place}' -F`];
  return words === null ? [] : [`complete -c agent -n '${place}' -a ${words} -d ${quoted(argument.name)}`];
}

function offer({ words, completes }: CompletedValue): string | null {
  const source = completes === null ? '' : sources[completes];
  const text = [plainWords(words), source].filter((part) => part !== '').join(' ');
  return text === '' ? null : `'${text}'`;
}

const sources: Readonly<Record<NonNullable<CompletedValue['completes']>, string>> = {
  file: '',
  directory: '(__fish_complete_directories)',
  gpu: '(__agent_ask gpus)',
  release: '(__agent_ask releases)',
  host: '(__fish_print_hostnames)',
};

/** In fish's single quotes only the quote and the backslash mean something. */
const quoted = (text: string): string => `'${text.replaceAll('\\', '\\\\').replaceAll("'", "\\'")}'`;
