import { posix } from 'node:path';
import { SYSTEM_FILE } from '../../domain/configuration/access.ts';
import { Config } from '../../domain/configuration/config.ts';
import { type Environment, namesOf, variableOf } from './environment-names.ts';

/** A place where the configuration file may lie. */
export interface ConfigCandidate {
  readonly path: string;
  /** Named by somebody: that it does not exist is an error, and no other place is looked at. */
  readonly required: boolean;
}

export interface LocationInput {
  /** `--config`. */
  readonly flag: string | null;
  /** `--root`. */
  readonly root: string | null;
  readonly environment: Environment;
  /** Where relative flags and variables count from; a file there is never taken by itself. */
  readonly workingDirectory: string;
}

/** Where to look for the file, in order: `--config`, `AGENT_CONFIG`, the system's, `<root>/agent.yaml`. The first that exists counts. */
export function configurationFile({ flag, root, environment, workingDirectory }: LocationInput): ConfigCandidate[] {
  const named = flag ?? variableOf(environment, 'AGENT_CONFIG');
  if (named !== null) return [{ path: posix.resolve(workingDirectory, named), required: true }];
  const rootByName = namesOf('root')
    .map((name) => variableOf(environment, name))
    .find((value) => value !== null);
  const effective = root ?? rootByName ?? Config.shape.root.parse(undefined);
  return [SYSTEM_FILE, posix.resolve(workingDirectory, effective, 'agent.yaml')].map((path) => ({ path, required: false }));
}
