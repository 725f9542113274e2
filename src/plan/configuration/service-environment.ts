import { SYSTEM_SECRETS } from '../../domain/configuration/access.ts';
import { ENVIRONMENT_NAMES, type Environment, namesOf, SECRET_NAMES } from './environment-names.ts';

/** What systemd will hand to the agent, read as systemd reads it. */

/** As systemd has it for services of the system. */
const SERVICE_PATH = '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin';

export interface EnvironmentFile {
  readonly variables: Readonly<Record<string, string>>;
  /** Lines that systemd passes over though they were meant to say something: their numbers. */
  readonly ignored: readonly number[];
}

const ASSIGNMENT = /^\s*([A-Za-z_][A-Za-z0-9_]*)\s*=/;

/** An EnvironmentFile= (systemd.exec(5)): quotes, backslashes, comments; no variable is expanded and nothing is run. */
export function readEnvironmentFile(text: string): EnvironmentFile {
  const variables: Record<string, string> = {};
  const ignored: number[] = [];
  let at = 0;
  const lineAt = (position: number): number => text.slice(0, position).split('\n').length;
  while (at < text.length) {
    const end = endOfLine(text, at);
    const line = text.slice(at, end);
    const name = ASSIGNMENT.exec(line);
    if (name === null) {
      if (!/^\s*([#;]|$)/.test(line)) ignored.push(lineAt(at));
      // A comment goes on after a backslash, too.
      at = /\\$/.test(line) ? endOfLine(text, end + 1) + 1 : end + 1;
      continue;
    }
    const { value, next } = readValue(text, at + name[0].length);
    variables[name[1] ?? ''] = value;
    at = next;
  }
  return { variables, ignored };
}

const endOfLine = (text: string, from: number): number => {
  const found = text.indexOf('\n', from);
  return found === -1 ? text.length : found;
};

/** The value from there to the end of its line, which may be lines further on. */
function readValue(text: string, from: number): { readonly value: string; readonly next: number } {
  let value = '';
  /** Blanks outside of quotes count only between other characters. */
  let pending = '';
  /** A character without quotes: from there on quotes are characters, too. */
  let isBare = false;
  let quote: string | null = null;
  for (let at = from; at < text.length; at++) {
    const char = text[at] ?? '';
    if (quote === null && char === '\n') return { value, next: at + 1 };
    if (char === '\\' && quote !== "'") {
      const next = text[at + 1] ?? '';
      at++;
      if (next === '\n') continue;
      value += pending + (quote === '"' && !'"\\`$'.includes(next) ? `\\${next}` : next);
      pending = '';
      isBare ||= quote === null;
    } else if (quote === null && /\s/.test(char)) {
      if (isBare) pending += char;
    } else if (quote === null && (char === '"' || char === "'") && !isBare) quote = char;
    else if (char === quote) quote = null;
    else {
      value += pending + char;
      pending = '';
      isBare ||= quote === null;
    }
  }
  return { value, next: text.length };
}

/** Environment= lines of a unit of ours: words without quotes. */
export const unitVariables = (unit: string): Readonly<Record<string, string>> =>
  Object.fromEntries(
    [...unit.matchAll(/^Environment=(.*)$/gm)].flatMap(([, words = '']) =>
      words.split(' ').map((word) => [word.slice(0, word.indexOf('=')), word.slice(word.indexOf('=') + 1)] as const),
    ),
  );

/** All that the agent of that unit will see; nothing of whoever calls. */
export const serviceEnvironment = (unit: string, file: EnvironmentFile): Readonly<Record<string, string>> => ({
  PATH: SERVICE_PATH,
  ...unitVariables(unit),
  ...file.variables,
});

/** What a person must know of the file, and of variables that are set for set-up and will not be for the service. */
export function environmentNotes(file: EnvironmentFile, caller: Environment): string[] {
  const known = new Set([...ENVIRONMENT_NAMES.map(([, name]) => name), ...SECRET_NAMES]);
  // The root is taken over into what set-up writes.
  for (const name of namesOf('root')) known.delete(name);
  const lost = [...known].filter((name) => (caller[name] ?? '') !== '' && file.variables[name] === undefined);
  return [
    ...file.ignored.map((line) => `${SYSTEM_SECRETS}:${line} is no NAME=value, and systemd passes over it`),
    ...(lost.length === 0 ? [] : [`${lost.join(', ')}: set here, but not for the service; write it into ${SYSTEM_SECRETS}`]),
  ];
}
