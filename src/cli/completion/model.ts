import { Option } from 'commander';
import { GLOBAL_OPTIONS, HELP_OPTION } from '../grammar/global.ts';
import type { Completes, Verb, VerbArgument, VerbOption } from '../grammar/verb.ts';

/** What a shell has to know to complete a command line; the same for every shell. */
export interface CompletionModel {
  readonly verbs: readonly CompletedVerb[];
  readonly globals: readonly CompletedOption[];
}

export interface CompletedVerb {
  readonly name: string;
  readonly about: string;
  readonly arguments: readonly CompletedArgument[];
  /** Without the global ones. */
  readonly options: readonly CompletedOption[];
}

/** What can be offered for one value. */
export interface CompletedValue {
  readonly name: string;
  readonly words: readonly string[];
  readonly completes: Exclude<Completes, 'topic'> | null;
}

export interface CompletedArgument extends CompletedValue {
  readonly about: string;
  /** The last one takes all that follow. */
  readonly repeats: boolean;
}

export interface CompletedOption {
  /** `-f`, `--follow`. */
  readonly names: readonly string[];
  readonly about: string;
  /** Null: a switch. */
  readonly value: CompletedValue | null;
  /** The value may be left out. */
  readonly isOptional: boolean;
  readonly repeats: boolean;
}

/** @param topics what `agent help` takes */
export function completionModel(verbs: readonly Verb[], topics: readonly string[]): CompletionModel {
  const value = (name: string, { choices, words, completes }: VerbOption | VerbArgument): CompletedValue => ({
    name,
    words: [...(choices ?? words ?? []), ...(completes === 'topic' ? topics : [])],
    completes: completes === undefined || completes === 'topic' ? null : completes,
  });
  const option = (described: VerbOption): CompletedOption => {
    const { short, long, required, optional } = new Option(described.flags);
    const name = /[<[]([^<>[\]]+)[\]>]/.exec(described.flags)?.[1] ?? '';
    return {
      names: [short, long].filter((each) => each !== undefined && each !== null),
      about: described.about,
      value: required || optional ? value(name, described) : null,
      isOptional: optional && !required,
      repeats: described.kind === 'texts',
    };
  };
  return {
    globals: [...GLOBAL_OPTIONS, HELP_OPTION].map(option),
    verbs: verbs
      .filter(({ hidden }) => hidden !== true)
      .map((verb) => ({
        name: verb.name,
        about: verb.about,
        options: (verb.options ?? []).map(option),
        arguments: (verb.arguments ?? []).map((argument) => ({
          ...value(argument.name.replace(/[<>[\].]/g, ''), argument),
          about: argument.about,
          repeats: argument.name.includes('...'),
        })),
      })),
  };
}

/** Words for a shell script are quoted as one text; nothing in them may end it. @throws Error for a verb that cannot be completed */
export function plainWords(words: readonly string[]): string {
  const odd = words.find((word) => !/^[\w@.,:/+=-]+$/.test(word));
  if (odd !== undefined) throw new Error(`"${odd}" cannot stand in a completion script`);
  return words.join(' ');
}

/** Options that take a value, and whether it may be left out, as `verb:option`; the verb of a global one is `*`. */
export const optionsWithValue = ({
  verbs,
  globals,
}: CompletionModel): readonly { readonly key: string; readonly option: CompletedOption }[] =>
  [{ name: '*', options: globals }, ...verbs].flatMap((verb) =>
    verb.options
      .filter(({ value }) => value !== null)
      .flatMap((option) => option.names.map((name) => ({ key: `${verb.name}:${name}`, option }))),
  );
