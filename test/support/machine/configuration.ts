import { type ConfigurationInput, readConfiguration } from '../../../src/plan/configuration/configuration.ts';
import { describeConfigProblem } from '../../../src/plan/configuration/setting.ts';

export const FILE = '/etc/comfylet/agent.yaml';

type Flags = ConfigurationInput['flags'];
type Environment = ConfigurationInput['environment'];

/** The configuration of a file's text (null: no file), variables and flags. */
export const readConfig = (text: string | null, environment: Environment = {}, flags: Flags = []) =>
  readConfiguration({ file: text === null ? null : { path: FILE, text }, environment, flags });

/** The same, which must be accepted. */
export const acceptedConfig = (...args: Parameters<typeof readConfig>) => {
  const result = readConfig(...args);
  if (!result.ok) throw new Error(result.problems.map(describeConfigProblem).join('\n'));
  return result;
};

/** One line for each problem; none when it is accepted. */
export const configProblems = (...args: Parameters<typeof readConfig>): string[] => {
  const result = readConfig(...args);
  return result.ok ? [] : result.problems.map(describeConfigProblem);
};
