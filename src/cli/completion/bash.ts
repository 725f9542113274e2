import { type CompletedValue, type CompletionModel, optionsWithValue, plainWords } from './model.ts';

/** A completion script for bash 4 or newer; it needs no package bash-completion. */
export function bashCompletion(model: CompletionModel): string {
  const names = (options: CompletionModel['globals']): string => plainWords(options.flatMap((option) => option.names));
  const values = optionsWithValue(model);
  const keys = (isOptional: boolean): string =>
    values
      .filter(({ option }) => option.isOptional === isOptional)
      .map(({ key }) => key)
      .join('|') || "''";
  const line = (indent: number, text: string): string => `${' '.repeat(indent)}${text}`;
  return `${[
    '# bash completion for agent; made by `agent completion bash`.',
    '# Load it with: source <(agent completion bash)',
    '',
    '# What the running agent knows (at most a second, nothing when there is none).',
    '_agent_ask() {',
    // biome-ignore lint/suspicious/noTemplateCurlyInString: shell
    '  "${_agent_program[@]}" __complete "$1" "${_agent_globals[@]}" 2>/dev/null',
    '}',
    '',
    '_agent_words() {',
    // biome-ignore lint/suspicious/noTemplateCurlyInString: shell
    '  mapfile -t -O "${#COMPREPLY[@]}" COMPREPLY < <(compgen -W "$1" -- "$cur")',
    '}',
    '',
    '_agent_files() {',
    '  compopt -o filenames 2>/dev/null',
    '  mapfile -t COMPREPLY < <(compgen "$1" -- "$cur")',
    '}',
    '',
    '_agent_option_value() {',
    '  case $1 in',
    ...values.filter(({ option }) => offer(option.value) !== ':').map(({ key, option }) => line(4, `${key}) ${offer(option.value)} ;;`)),
    '  esac',
    '}',
    '',
    '_agent_argument() {',
    '  case $1 in',
    ...model.verbs.flatMap(({ name, arguments: each }) =>
      each.map((argument, index) => line(4, `${name}:${argument.repeats ? '*' : index}) ${offer(argument)} ;;`)),
    ),
    '  esac',
    '}',
    '',
    '_agent() {',
    // biome-ignore lint/suspicious/noTemplateCurlyInString: shell
    '  local cur=${COMP_WORDS[COMP_CWORD]} verb= count=0 only_arguments= index word expected= taken',
    // biome-ignore lint/suspicious/noTemplateCurlyInString: shell
    '  local -a _agent_program=("${COMP_WORDS[0]/#\\~/$HOME}") _agent_globals=()',
    '  COMPREPLY=()',
    '  # bash splits at "=", so that --root=/data is three words.',
    '  [[ $cur == = ]] && cur=',
    '  for ((index = 1; index < COMP_CWORD; index++)); do',
    // biome-ignore lint/suspicious/noTemplateCurlyInString: shell
    '    word=${COMP_WORDS[index]}',
    '    [[ $word == = ]] && continue',
    '    taken=$expected expected=',
    '    if [[ -n $taken ]]; then',
    // biome-ignore lint/suspicious/noTemplateCurlyInString: shell
    '      case $taken in --root | --config) _agent_globals+=("$taken" "${word/#\\~/$HOME}") ;; esac',
    '      [[ $taken == \\?* && $word == -* ]] || continue',
    '    fi',
    '    if [[ -n $only_arguments || $word != -* ]]; then',
    '      if [[ -z $verb ]]; then verb=$word; else count=$((count + 1)); fi',
    '    elif [[ $word == -- ]]; then',
    '      only_arguments=1',
    '    else',
    '      case "$verb:$word" in',
    `        ${keys(false)}) expected=$word ;;`,
    `        ${keys(true)}) expected=?$word ;;`,
    '      esac',
    '    fi',
    '  done',
    '  if [[ -n $expected && ! ($expected == \\?* && $cur == -*) ]]; then',
    // biome-ignore lint/suspicious/noTemplateCurlyInString: shell
    '    _agent_option_value "$verb:${expected#\\?}"',
    '  elif [[ -z $only_arguments && $cur == -* ]]; then',
    `    _agent_words '${names(model.globals)}'`,
    '    case $verb in',
    "      '') _agent_words '-V --version' ;;",
    ...model.verbs
      .filter(({ options }) => options.length > 0)
      .map(({ name, options }) => line(6, `${name}) _agent_words '${names(options)}' ;;`)),
    '    esac',
    '  elif [[ -z $verb ]]; then',
    `    _agent_words '${plainWords(model.verbs.map(({ name }) => name))}'`,
    '  else',
    '    _agent_argument "$verb:$count"',
    '  fi',
    '}',
    '',
    'complete -F _agent agent',
  ].join('\n')}\n`;
}

function offer(value: CompletedValue | null): string {
  if (value === null) return ':';
  const { words, completes } = value;
  const parts = [
    ...(words.length === 0 ? [] : [`_agent_words '${plainWords(words)}'`]),
    ...(completes === null ? [] : [sources[completes]]),
  ];
  return parts.join('; ') || ':';
}

const sources: Readonly<Record<NonNullable<CompletedValue['completes']>, string>> = {
  file: '_agent_files -f',
  directory: '_agent_files -d',
  gpu: '_agent_words "$(_agent_ask gpus)"',
  release: '_agent_words "$(_agent_ask releases)"',
  // biome-ignore lint/suspicious/noTemplateCurlyInString: shell
  host: 'mapfile -t -O "${#COMPREPLY[@]}" COMPREPLY < <(compgen -A hostname -- "$cur")',
};
