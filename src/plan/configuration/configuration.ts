import { Config, type ConfigSource, type Provenance, type Secrets } from '../../domain/configuration/config.ts';
import { decodeSshKeyParts } from '../../domain/configuration/ssh-key.ts';
import { AgentError, isAgentError } from '../../domain/errors/errors.ts';
import { looksSecret, redactConfig } from '../text/redact-config.ts';
import { tokenProblem } from './access-token.ts';
import { checkConfig } from './checks.ts';
import { type Environment, readEnvironment, SECRET_NAMES, variableOf } from './environment-names.ts';
import { expandReferences } from './expand.ts';
import { type ConfigFileText, readConfigFile } from './file.ts';
import { issueProblems, type SchemaIssue } from './issues.ts';
import { configTree, leavesOf } from './keys.ts';
import { withAbsolutePaths } from './paths.ts';
import { type ConfigProblem, describeConfigProblem, type Setting } from './setting.ts';

export interface ConfigurationInput {
  readonly file: ConfigFileText | null;
  readonly environment: Environment;
  /** `{ key: 'root', value: '/data', flag: '--root' }`. */
  readonly flags: readonly { readonly key: string; readonly value: unknown; readonly flag: string }[];
  /** Where a relative `--root` counts from; without it the root must be absolute. Other relative paths count from the root. */
  readonly workingDirectory?: string;
}

export type ConfigurationResult =
  | {
      readonly ok: true;
      readonly config: Config;
      readonly provenance: readonly Provenance[];
      readonly secrets: Secrets;
      readonly warnings: readonly string[];
    }
  | { readonly ok: false; readonly problems: readonly ConfigProblem[] };

/** Everything an operator can say, merged key by key: defaults < file < environment < flags. Lists replace each other. */
export function readConfiguration({ file, environment, flags, workingDirectory }: ConfigurationInput): ConfigurationResult {
  const tree = configTree();
  const leaves = leavesOf(tree);
  const fromFile = file === null ? null : readConfigFile(file, tree, environment);
  const fromEnvironment = readEnvironment(environment);
  const settings = new Map<string, Setting>();
  for (const setting of [...(fromFile?.settings ?? []), ...fromEnvironment.settings]) settings.set(setting.key, setting);
  for (const { key, value, flag } of flags) settings.set(key, { key, value, written: value, source: 'flag', origin: flag, line: null });

  const problems: ConfigProblem[] = [...(fromFile?.problems ?? []), ...fromEnvironment.problems];
  const problemAt = (key: string, message: string): ConfigProblem => {
    const setting = settings.get(key);
    return {
      key,
      source: setting?.source ?? 'default',
      origin: setting?.origin ?? null,
      line: setting?.line ?? null,
      code: 'CONFIG_INVALID',
      message,
    };
  };
  const parsed = Config.safeParse(inputOf(settings.values()));
  if (!parsed.success)
    problems.push(...issueProblems(parsed.error.issues as readonly SchemaIssue[], settings, leaves, fromFile?.lineOf ?? null));
  const secrets = secretsOf(environment, parsed.success ? parsed.data : null);
  problems.push(...secrets.problems);
  if (!parsed.success) return { ok: false, problems };

  const { config, faults } = withAbsolutePaths(parsed.data, {
    workingDirectory: workingDirectory ?? null,
    home: variableOf(environment, 'HOME'),
  });
  const checked = checkConfig(config);
  problems.push(...[...faults, ...checked.problems].map(({ key, message }) => problemAt(key, message)));
  if (problems.length > 0) return { ok: false, problems };
  const provenance = leaves.map(({ key }): Provenance => {
    const setting = settings.get(key);
    const source: ConfigSource = setting?.source ?? 'default';
    const value = setting !== undefined && namesSecretVariable(setting.written) ? setting.written : valueAt(config, key);
    return { path: key, value, source, origin: setting?.origin ?? null };
  });
  return {
    ok: true,
    config,
    provenance: redactConfig(provenance),
    secrets: { ...secrets.secrets, tokenFile: secrets.secrets.token === null ? config.api.tokenFile : null },
    warnings: [...fromEnvironment.warnings, ...secrets.warnings, ...checked.warnings],
  };
}

/** All problems as one error: the first is the message, all are in its details. */
export function toError(problems: readonly ConfigProblem[]): AgentError {
  const [first] = problems;
  const lines = problems.map(describeConfigProblem);
  const more = problems.length > 1 ? ` (first of ${problems.length} problems)` : '';
  return new AgentError(first?.code ?? 'CONFIG_INVALID', `${lines[0] ?? 'it is not valid'}${more}`, { details: { problems: lines } });
}

function inputOf(settings: Iterable<Setting>): object {
  const input: Record<string, unknown> = {};
  for (const { key, value } of settings) {
    const parts = key.split('.');
    let section = input;
    for (const part of parts.slice(0, -1)) {
      section[part] ??= {};
      section = section[part] as Record<string, unknown>;
    }
    section[parts.at(-1) ?? key] = value;
  }
  return input;
}

const valueAt = (config: Config, key: string): unknown =>
  key.split('.').reduce<unknown>((value, part) => (value as Record<string, unknown>)[part], config);

/** `${HF_TOKEN}` anywhere in what was written: the reference is shown instead of the value. */
const namesSecretVariable = (written: unknown): boolean =>
  typeof written === 'string'
    ? expandReferences(written, {}).names.some(looksSecret)
    : written !== null && typeof written === 'object' && Object.values(written).some(namesSecretVariable);

function secretsOf(
  environment: Environment,
  config: Config | null,
): { readonly secrets: Secrets; readonly problems: readonly ConfigProblem[]; readonly warnings: readonly string[] } {
  const problems: ConfigProblem[] = [];
  const warnings: string[] = [];
  const keyParts = [environment['CUT_PK_1'], environment['CUT_PK_2'], environment['CUT_PK_3']];
  let sshKey: string | null = null;
  if (keyParts.some((part) => (part ?? '').trim() !== '')) {
    if (config !== null && config.ssh.keyFile !== null)
      warnings.push('CUT_PK_1..3 are ignored, because ssh.keyFile (SSH_KEY_FILE) names a key');
    else {
      try {
        sshKey = decodeSshKeyParts(keyParts);
      } catch (error) {
        if (!isAgentError(error)) throw error;
        problems.push({
          key: '',
          source: 'environment',
          origin: 'CUT_PK_1..3',
          line: null,
          code: 'SSH_KEY_INVALID',
          message: error.message,
        });
      }
    }
  }
  const token = variableOf(environment, 'AGENT_TOKEN');
  const wrong = token === null ? null : tokenProblem(token);
  if (wrong !== null)
    problems.push({ key: '', source: 'environment', origin: 'AGENT_TOKEN', line: null, code: 'CONFIG_INVALID', message: `it ${wrong}` });
  if (token !== null && config?.api.tokenFile) warnings.push('api.tokenFile (AGENT_TOKEN_FILE) is ignored, because AGENT_TOKEN is set');
  // What belongs to the agent alone is not handed to packs that ask for it by name.
  const passed = Object.entries(environment).filter(
    (entry): entry is [string, string] => entry[1] !== undefined && !(SECRET_NAMES as readonly string[]).includes(entry[0]),
  );
  const encoded = variableOf(environment, 'AWS_SECRET_ACCESS_KEY_ENCODED');
  const decoded = encoded?.replaceAll('_SLASH_', '/');
  const plain = variableOf(environment, 'AWS_SECRET_ACCESS_KEY');
  if (decoded !== undefined && plain !== null && plain !== decoded)
    warnings.push('AWS_SECRET_ACCESS_KEY_ENCODED is not decoded, because AWS_SECRET_ACCESS_KEY is set to something else');
  return {
    secrets: {
      token,
      tokenFile: null,
      sshKey,
      environment: {
        ...Object.fromEntries(passed),
        ...(decoded !== undefined && plain === null ? { AWS_SECRET_ACCESS_KEY: decoded } : {}),
      },
    },
    problems,
    warnings,
  };
}
