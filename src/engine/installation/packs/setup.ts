import type { LockedPackage } from '../../../domain/installation/lock.ts';
import type { PackSpec } from '../../../domain/installation/release.ts';
import { constraintVariables } from '../../../plan/installation/python.ts';
import { gitTrust } from '../../../plan/instances/launch.ts';
import { forEachLimited, type InstallContext, packDirectory, stateOf } from '../context.ts';
import { containChanges, withPackages } from '../environment/containment.ts';
import type { BuiltEnvironment } from '../environment/environment.ts';
import { alteredFiles, untrackedPaths } from './files.ts';

const LAST_LINES = 5;

/**
 * What a pack wants done beside its requirements: its `.env`, its custom_script, its install.py. One pack after the
 * other, because the scripts may change the shared environment; what each changes there is contained at once.
 * @returns packages that scripts added and that now belong to the release, for its lock
 */
export async function setUpPacks(context: InstallContext, environment: BuiltEnvironment): Promise<readonly LockedPackage[]> {
  const { spec, config, tracker, ports } = context;
  const variables = scriptEnvironment(context, environment);
  let resolution = environment.resolution;
  const adopted: LockedPackage[] = [];
  const packs = spec.packs.filter((pack) => stateOf(context, pack.name) !== 'failed');
  const stamps = new Map(await Promise.all(packs.map(async ({ name }) => [name, await stampOf(context, name)] as const)));
  for (const [index, pack] of packs.entries()) {
    tracker.pack(pack.name, { state: 'installing' });
    await writeDotEnv(context, pack);
    for (const script of await scriptsOf(context, pack, environment.python)) {
      const before = await ports.python.packages(environment.python);
      // A failing script is told and not fatal: the trial start decides whether the pack loads.
      const failure = await runScript(context, pack, script, variables);
      if (failure !== null) tracker.packWarning(pack.name, failure);
      const contained = await containChanges(context, { ...environment, resolution }, before, { by: script.label, addedBy: pack.name });
      for (const words of contained.words) tracker.packWarning(pack.name, words);
      adopted.push(...contained.adopted);
      resolution = withPackages(resolution, contained.adopted);
    }
    tracker.fraction((index + 1) / spec.packs.length);
  }
  await forEachLimited(packs, config.install.concurrency, async (pack) => {
    const directory = packDirectory(context, pack.name);
    // Scripts may write into the folders of other packs; what nobody touched need not be compared with its source.
    const isTouched = (await stampOf(context, pack.name)) !== stamps.get(pack.name);
    const generated = isTouched ? ((await untrackedPaths(ports, directory)) ?? []) : [];
    const altered = isTouched ? await alteredFiles(ports, directory) : [];
    tracker.pack(pack.name, { state: 'installed', generated: [...generated], altered });
  });
  return [...new Map(adopted.map((locked) => [locked.name, locked])).values()];
}

const stampOf = (context: InstallContext, pack: string): Promise<string> => context.ports.files.treeStamp(packDirectory(context, pack));

/** Written without a shell, 0600 from the start. A variable that is not set gives an empty value, as before. */
async function writeDotEnv(context: InstallContext, pack: PackSpec): Promise<void> {
  const entries = Object.entries(context.packEnvironments.get(pack.name) ?? {});
  if (entries.length === 0) return;
  const { environment } = context.secrets;
  const unset = new Set<string>();
  const lines = entries.map(([name, value]) => {
    const expanded = value.replace(/\$\{([A-Za-z_][A-Za-z0-9_]*)\}/g, (_, variable: string) => {
      if (environment[variable] === undefined) unset.add(variable);
      return environment[variable] ?? '';
    });
    return `${name}=${quoted(expanded)}`;
  });
  await context.ports.files.writeText(`${packDirectory(context, pack.name)}/.env`, `${lines.join('\n')}\n`, 0o600);
  if (unset.size > 0)
    context.tracker.packWarning(pack.name, `its .env has empty values, because these variables are not set: ${[...unset].join(', ')}`);
}

/** The form that python-dotenv and shells read alike; plain values stay bare. */
const quoted = (value: string): string =>
  /^[\w@%+=:,./-]*$/.test(value) ? value : `'${value.replaceAll('\\', '\\\\').replaceAll("'", "\\'")}'`;

function scriptEnvironment(context: InstallContext, { python, constraintsFile }: BuiltEnvironment): Record<string, string> {
  const bin = python.slice(0, python.lastIndexOf('/'));
  return {
    ...context.inherited,
    ...gitTrust(context.config),
    PATH: `${bin}:${context.inherited['PATH'] ?? '/usr/local/bin:/usr/bin:/bin'}`,
    VIRTUAL_ENV: bin.slice(0, bin.lastIndexOf('/')),
    PYTHONUNBUFFERED: '1',
    PYTHONPYCACHEPREFIX: `${context.layout.bytecode}/${context.releaseId}`,
    COMFYUI_PATH: `${context.directory}/ComfyUI`,
    PIP_NO_INPUT: '1',
    PIP_DISABLE_PIP_VERSION_CHECK: '1',
    // Whatever a script installs must not move torch or the core (reference peers-install.md, pain 1).
    ...(constraintsFile === null ? {} : constraintVariables(constraintsFile)),
    ...indexEnvironment(context),
  };
}

function indexEnvironment({ spec, wheels }: InstallContext): Record<string, string> {
  // What a script installs is in the bundle when it is in the lock.
  if (wheels !== null)
    return { PIP_NO_INDEX: '1', PIP_FIND_LINKS: wheels.directory, UV_NO_INDEX: '1', UV_OFFLINE: '1', UV_FIND_LINKS: wheels.directory };
  const { indexUrl, extraIndexUrls, findLinks } = spec.python;
  return {
    ...(indexUrl === null ? {} : { PIP_INDEX_URL: indexUrl, UV_DEFAULT_INDEX: indexUrl }),
    ...(extraIndexUrls.length === 0 ? {} : { PIP_EXTRA_INDEX_URL: extraIndexUrls.join(' '), UV_INDEX: extraIndexUrls.join(' ') }),
    ...(findLinks.length === 0 ? {} : { PIP_FIND_LINKS: findLinks.join(' '), UV_FIND_LINKS: findLinks.join(',') }),
  };
}

interface Script {
  readonly label: string;
  readonly file: string;
  readonly args: readonly string[];
}

async function scriptsOf(context: InstallContext, pack: PackSpec, python: string): Promise<Script[]> {
  const scripts: Script[] = [];
  if (pack.customScript !== null) {
    if (context.spec.customScripts) scripts.push({ label: 'custom_script', file: 'bash', args: ['-c', pack.customScript] });
    else context.tracker.packWarning(pack.name, 'its custom_script was not run (packs.customScripts is false)');
  }
  if (await context.ports.files.exists(`${packDirectory(context, pack.name)}/install.py`))
    scripts.push({ label: 'install.py', file: python, args: ['-u', 'install.py'] });
  return scripts;
}

async function runScript(
  context: InstallContext,
  pack: PackSpec,
  { label, file, args }: Script,
  environment: Record<string, string>,
): Promise<string | null> {
  const { shell } = context.ports;
  const result = await shell.run(file, args, {
    cwd: packDirectory(context, pack.name),
    environment,
    timeoutMs: context.config.packs.scriptTimeoutMs,
    signal: context.signal,
    onLine: (line) => context.tracker.line(`${pack.name}: ${line}`),
  });
  context.signal.throwIfAborted();
  if (result.exitCode === 0) return null;
  const why = result.timedOut
    ? `took longer than ${context.config.packs.scriptTimeoutMs} ms`
    : `ended with ${result.signal ?? `exit code ${result.exitCode}`}`;
  return `${label} ${why}: ${result.tail.trimEnd().split('\n').slice(-LAST_LINES).join(' | ')}`;
}
