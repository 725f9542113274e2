import { type CompletedOption, type CompletedValue, type CompletedVerb, type CompletionModel, plainWords } from './model.ts';

/** A completion script for zsh: as `_agent` in a directory of fpath, or read by `source`. */
export function zshCompletion(model: CompletionModel): string {
  const globals = model.globals.flatMap(optionSpecs);
  return `${[
    '#compdef agent',
    '# zsh completion for agent; made by `agent completion zsh`.',
    '# Load it with: source <(agent completion zsh)',
    '',
    '# What the running agent knows (at most a second, nothing when there is none).',
    '_agent_ask() {',
    '  local -a answers',
    '  _agent_keep_globals',
    // biome-ignore lint/suspicious/noTemplateCurlyInString: shell
    '  answers=("${(@f)$("${(Q)_agent_program/#\\~/$HOME}" __complete $1 $_agent_globals 2>/dev/null)}")',
    // biome-ignore lint/suspicious/noTemplateCurlyInString: shell
    '  answers=(${answers:#})',
    '  (( $#answers )) && compadd -a answers',
    '}',
    '',
    '# --root and --config, typed before or after the verb.',
    '_agent_keep_globals() {',
    '  local key',
    '  for key in --root --config; do',
    // biome-ignore lint/suspicious/noTemplateCurlyInString: shell
    '    (( ${+opt_args[$key]} )) && _agent_globals+=($key "${(Q)opt_args[$key]}")',
    '  done',
    '}',
    '',
    '_agent_gpus() {',
    '  (( $# )) && compadd -- "$@"',
    '  _agent_ask gpus',
    '}',
    '',
    '_agent_verbs() {',
    '  local -a verbs=(',
    ...model.verbs.map(({ name, about }) => `    ${quoted(`${name}:${about.replaceAll(':', '\\:')}`)}`),
    '  )',
    '  _describe -t verbs verb verbs',
    '}',
    '',
    '_agent() {',
    '  local curcontext=$curcontext context state state_descr line ret=1 _agent_program=$words[1]',
    '  typeset -A opt_args',
    '  local -a _agent_globals=() globals=(',
    ...globals.map((spec) => `    ${spec}`),
    '  )',
    "  _arguments -C -s : $globals '(-V --version)'{-V,--version}'[show the version]' '1: :_agent_verbs' '*:: :->rest' && ret=0",
    '  if [[ $state == rest ]]; then',
    '    _agent_keep_globals',
    '    case $words[1] in',
    ...model.verbs.map((verb) => `      ${verb.name}) _arguments -s : ${['$globals', ...verbSpecs(verb)].join(' ')} && ret=0 ;;`),
    '    esac',
    '  fi',
    '  return ret',
    '}',
    '',
    'if [[ $funcstack[1] == _agent ]]; then _agent "$@"; else compdef _agent agent; fi',
  ].join('\n')}\n`;
}

const verbSpecs = ({ options, arguments: each }: CompletedVerb): string[] => [
  ...options.flatMap(optionSpecs),
  ...each.map((argument, index) => quoted(`${argument.repeats ? '*' : index + 1}:${argument.name}:${action(argument)}`)),
];

/** One specification for each name, so that each is plain text in quotes. */
function optionSpecs({ names, about, value, repeats }: CompletedOption): string[] {
  const others = repeats ? '' : names.length > 1 ? `(${names.join(' ')})` : '';
  const text = about.replace(/[[\]]/g, '\\$&').replaceAll(':', '\\:');
  return names.map((name) => {
    const takes = value === null ? '' : name.startsWith('--') ? '=' : '+';
    const argument = value === null ? '' : `:${value.name.replaceAll(':', '\\:')}:${action(value)}`;
    return quoted(`${repeats ? '*' : others}${name}${takes}[${text}]${argument}`);
  });
}

function action({ words, completes }: CompletedValue): string {
  if (completes === 'gpu') return ` _agent_gpus ${plainWords(words)}`;
  if (completes !== null) return sources[completes];
  return words.length === 0 ? ' ' : `(${plainWords(words)})`;
}

const sources: Readonly<Record<Exclude<NonNullable<CompletedValue['completes']>, 'gpu'>, string>> = {
  file: '_files',
  directory: '_directories',
  release: ' _agent_ask releases',
  host: '_hosts',
};

const quoted = (text: string): string => `'${text.replaceAll("'", "'\\''")}'`;
