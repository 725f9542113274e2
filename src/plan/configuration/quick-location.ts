import { posix } from 'node:path';
import { type Environment, namesOf, variableOf } from './environment-names.ts';
import { socketOf } from './layout.ts';

/** Where a running agent is found. */
export interface Location {
  readonly root: string;
  readonly state: string;
  readonly socket: string;
}

export interface LocationQuestion {
  /** `--root`. */
  readonly rootFlag: string | null;
  readonly environment: Environment;
  readonly workingDirectory: string;
  /** Text of the configuration file that counts; null when there is none. */
  readonly fileText: string | null;
}

/** Same as in the schema, which is not loaded here; a test compares them. */
export const DEFAULT_ROOT = '/workspace';
/** Keys and escapes by which a file could move the directories in question. */
const MAY_MOVE = /\broot\b|stateDir|runDir|\\[xuU]/;

/**
 * The answer of the whole configuration to one question, without loading the schema (100 ms of every `agent status`).
 * Null when the file or an odd path may have a say: then the whole configuration must be read.
 */
export function quickLocation({ rootFlag, environment, workingDirectory, fileText }: LocationQuestion): Location | null {
  if (fileText !== null && MAY_MOVE.test(fileText)) return null;
  const named = (key: string): string | null =>
    namesOf(key)
      .map((name) => variableOf(environment, name))
      .find((value) => value !== null) ?? null;
  const written = rootFlag ?? named('root') ?? DEFAULT_ROOT;
  const directories = [named('stateDir'), named('runDir')];
  if ([written, ...directories].some((path) => path !== null && isOdd(path))) return null;
  const root = plain(posix.resolve(workingDirectory, written));
  if (root === '/') return null;
  const below = (path: string | null, name: string): string => (path === null ? `${root}/${name}` : plain(posix.resolve(root, path)));
  return { root, state: below(directories[0] ?? null, 'state'), socket: socketOf(below(directories[1] ?? null, 'run')).path };
}

/** Whole-configuration rules apply: home directory, variables, zero bytes. */
const isOdd = (path: string): boolean => /[~$\0]/.test(path) || path === '' || path !== path.trim();

const plain = (path: string): string => (path.length > 1 ? path.replace(/(?<!\/)\/+$/, '') : path);
