import type { PackSpec } from '../../domain/release.ts';
import { type InstallContext, packDirectory } from './context.ts';

const LAST_LINES = 5;

/**
 * What a pack wants done beside its requirements: its `.env`, its custom_script, its install.py. One pack after the
 * other, because the scripts may change the shared environment.
 */
export async function setUpPacks(context: InstallContext, python: string, constraintsFile: string | null): Promise<void> {
  const { spec, tracker, ports } = context;
  const environment = scriptEnvironment(context, python, constraintsFile);
  for (const [index, pack] of spec.packs.entries()) {
    if (stateOf(context, pack.name) === 'failed') continue;
    tracker.pack(pack.name, { state: 'installing' });
    await writeDotEnv(context, pack);
    // A failing script is told and not fatal: the trial start decides whether the pack loads.
    for (const run of [() => runCustomScript(context, pack, environment), () => runInstaller(context, pack, python, environment)]) {
      const failure = await run();
      if (failure !== null) tracker.packWarning(pack.name, failure);
    }
    const generated = await ports.git.untracked(packDirectory(context, pack.name));
    tracker.pack(pack.name, { state: 'installed', generated: [...generated] });
    tracker.fraction((index + 1) / spec.packs.length);
  }
}

export const stateOf = (context: InstallContext, name: string): string | undefined =>
  context.tracker.progress.packs.find((pack) => pack.name === name)?.state;

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

function scriptEnvironment(context: InstallContext, python: string, constraintsFile: string | null): Record<string, string> {
  const bin = python.slice(0, python.lastIndexOf('/'));
  return {
    ...context.inherited,
    PATH: `${bin}:${context.inherited['PATH'] ?? '/usr/local/bin:/usr/bin:/bin'}`,
    VIRTUAL_ENV: bin.slice(0, bin.lastIndexOf('/')),
    PYTHONUNBUFFERED: '1',
    PYTHONPYCACHEPREFIX: `${context.layout.cache}/pycache/${context.releaseId}`,
    COMFYUI_PATH: `${context.directory}/ComfyUI`,
    PIP_NO_INPUT: '1',
    PIP_DISABLE_PIP_VERSION_CHECK: '1',
    // Whatever a script installs must not move torch or the core (reference peers-install.md, pain 1).
    ...(constraintsFile === null ? {} : { PIP_CONSTRAINT: constraintsFile, UV_CONSTRAINT: constraintsFile }),
    ...indexEnvironment(context),
  };
}

function indexEnvironment({ spec }: InstallContext): Record<string, string> {
  const { indexUrl, extraIndexUrls, findLinks } = spec.python;
  return {
    ...(indexUrl === null ? {} : { PIP_INDEX_URL: indexUrl, UV_DEFAULT_INDEX: indexUrl }),
    ...(extraIndexUrls.length === 0 ? {} : { PIP_EXTRA_INDEX_URL: extraIndexUrls.join(' '), UV_INDEX: extraIndexUrls.join(' ') }),
    ...(findLinks.length === 0 ? {} : { PIP_FIND_LINKS: findLinks.join(' '), UV_FIND_LINKS: findLinks.join(',') }),
  };
}

async function runCustomScript(context: InstallContext, pack: PackSpec, environment: Record<string, string>): Promise<string | null> {
  if (pack.customScript === null) return null;
  if (!context.spec.customScripts) return 'its custom_script was not run (packs.customScripts is false)';
  return runScript(context, pack, 'custom_script', 'bash', ['-c', pack.customScript], environment);
}

async function runInstaller(
  context: InstallContext,
  pack: PackSpec,
  python: string,
  environment: Record<string, string>,
): Promise<string | null> {
  if (!(await context.ports.files.exists(`${packDirectory(context, pack.name)}/install.py`))) return null;
  const before = await context.ports.python.packages(python);
  const failure = await runScript(context, pack, 'install.py', python, ['-u', 'install.py'], environment);
  const after = await context.ports.python.packages(python);
  const changed = Object.keys({ ...before, ...after }).filter((name) => before[name] !== after[name]);
  if (changed.length > 0) {
    const shown = changed.slice(0, 5).map((name) => `${name} ${before[name] ?? 'none'} -> ${after[name] ?? 'none'}`);
    context.tracker.packWarning(
      pack.name,
      `install.py changed ${changed.length} package${changed.length === 1 ? '' : 's'}: ${shown.join(', ')}`,
    );
  }
  return failure;
}

async function runScript(
  context: InstallContext,
  pack: PackSpec,
  label: string,
  file: string,
  args: readonly string[],
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
