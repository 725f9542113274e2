import { randomBytes } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { dirname } from 'node:path';
import type { Config } from '../../../../domain/configuration/config.ts';
import { AgentError } from '../../../../domain/errors/errors.ts';
import { type EnvironmentFile, readEnvironmentFile } from '../../../../plan/configuration/service-environment.ts';
import { completedConfiguration, newConfiguration } from '../../../../plan/host/configuration.ts';
import { CONFIGURATION_FILE, MARK, SECRETS_FILE, UNIT_FILES } from '../../../../plan/host/layout.ts';
import { requirePlainPath } from '../../../../plan/host/refusals.ts';
import type { SetupWish } from '../../../../plan/host/setup.ts';
import { pathsOutside } from '../../../../plan/host/units.ts';
import { type Context, isSet, type Options } from '../../../context.ts';

export interface Asked {
  readonly wish: SetupWish;
  /** agent.env as it is there now. */
  readonly secrets: EnvironmentFile;
}

/** Everything about the wish that must be asked for: configuration, secrets, shipped files, this program. @throws AgentError USAGE, CONFIG_INVALID */
export async function askWish(context: Context, options: Options, prefix: string): Promise<Asked> {
  const { host, selection } = context;
  const [present, text] = await Promise.all([textOf(CONFIGURATION_FILE), textOf(SECRETS_FILE)]);
  const secrets = readEnvironmentFile(text ?? '');
  // The file of the units has the last word with them, and the configuration may refer to what is in it.
  const environment = { ...host.environment, ...secrets.variables };
  const { config, provenance } = await host.readConfiguration(selection, environment);
  /** What people's commands would not know. */
  let rootToAdd: string | null = null;
  const flag = selection.flags.find(({ key }) => key === 'root')?.value;
  if (typeof flag === 'string') {
    const flags = selection.flags.filter(({ key }) => key !== 'root');
    const { config: written, provenance: origins } = await host.readConfiguration({ ...selection, flags }, environment);
    const by = origins.find(({ path }) => path === 'root');
    const file = Object.hasOwn(secrets.variables, by?.origin ?? '') ? SECRETS_FILE : by?.source === 'file' ? by.origin : null;
    rootToAdd = file === null ? config.root : null;
    if (file !== null && written.root !== config.root)
      throw new AgentError('USAGE', `${file} says that the root is ${written.root}, not ${config.root}`, {
        help: 'change it there, or leave --root out',
      });
  }
  requirePlainPath(config.root, '--root');
  const units = await Promise.all(UNIT_FILES.map(async (unit) => [unit, await host.asset(`systemd/${unit}`)] as const));
  const legacy = isSet(options, 'legacy')
    ? { initScript: await host.asset('legacy/comfyui'), mgpu: await host.asset('legacy/mgpu') }
    : null;
  const wish: SetupWish = {
    root: config.root,
    prefix,
    program: 'file' in host.program ? host.program : { text: starterOf(host.program.command) },
    readable: [...pathsOutside(config.root, namedIn(config)), ...('file' in host.program ? [] : placesOf(host.program.command))],
    writable: pathsOutside(config.root, config.models.path),
    configuration: present === null ? newConfiguration(config.root) : completedConfiguration(present, provenance, rootToAdd),
    secrets: `# ${MARK}; read by systemd, 0600\n# NAME=value lines; \`systemctl restart comfylet\` after a change.\nAGENT_TOKEN=${randomBytes(32).toString('base64url')}\n`,
    units: Object.fromEntries(units),
    legacy,
    start: options['start'] !== false,
  };
  return { wish, secrets };
}

/** Directories that systemd makes itself are no business of the rest. */
const namedIn = (config: Config): unknown => ({ ...config, stateDir: null, runDir: null, pm2: { template: config.pm2.template } });

async function textOf(file: string): Promise<string | null> {
  return readFile(file, 'utf8').catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT' || error.code === 'ENOTDIR') return null;
    throw error;
  });
}

const starterOf = (command: readonly string[]): string =>
  `#!/bin/sh\n# ${MARK}\nexec ${command.map((word) => `'${word.replaceAll("'", "'\\''")}'`).join(' ')} "$@"\n`;

/** Where a program that is more than one file lies. */
const placesOf = ([interpreter = '', script = '']: readonly string[]): string[] => [interpreter, dirname(script)];
