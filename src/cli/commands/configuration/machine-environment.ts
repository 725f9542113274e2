import { AGENT_UNIT, SYSTEM_SECRETS } from '../../../domain/configuration/access.ts';
import { namesOf, variableOf } from '../../../plan/configuration/environment-names.ts';
import { readEnvironmentFile, serviceEnvironment } from '../../../plan/configuration/service-environment.ts';
import { unitFileOf } from '../../../plan/host/layout.ts';
import { plainText } from '../../client/plain-text.ts';
import type { Context } from '../../context.ts';

/** Variables that choose an agent. */
const OWN = ['AGENT_CONFIG', ...['root', 'stateDir', 'runDir'].flatMap((key) => namesOf(key))];

/**
 * What systemd starts this machine's agent with, for commands that look in its place: what they find is true of the service, and
 * not of the shell they were typed in. Drop-ins of the unit are not read. Null: the command line is about another agent, none is
 * set up, or its secrets may not be read by whoever asks.
 */
export function machineEnvironment({ host, selection }: Context): Readonly<Record<string, string>> | null {
  const isNamed =
    selection.configFile !== null ||
    selection.flags.some(({ key }) => key === 'root') ||
    OWN.some((name) => variableOf(host.environment, name) !== null);
  if (isNamed) return null;
  const [unit, secrets] = [textOf(unitFileOf(AGENT_UNIT)), textOf(SYSTEM_SECRETS)];
  return unit === null || secrets === null ? null : serviceEnvironment(unit, readEnvironmentFile(secrets));
}

function textOf(path: string): string | null {
  try {
    return plainText(path);
  } catch {
    return null;
  }
}
