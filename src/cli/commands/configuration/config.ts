import type { ConfigCheckDocument } from '../../../domain/configuration/check.ts';
import type { Provenance } from '../../../domain/configuration/config.ts';
import { AgentError, asAgentError } from '../../../domain/errors/errors.ts';
import { ExitCode } from '../../../domain/errors/registry.ts';
import { findAgent } from '../../client/connect.ts';
import { plainText } from '../../client/plain-text.ts';
import type { Command, Context } from '../../context.ts';
import type { CliConfiguration } from '../../host.ts';
import { table } from '../../render/table.ts';
import { clean } from '../../render/text.ts';
import { machineEnvironment } from './machine-environment.ts';

/** `agent config show|check|schema`. */
export const config: Command = (context, [action = 'show']) => {
  if (action === 'check') return check(context);
  return action === 'schema' ? schema(context) : show(context);
};

/** Of the running agent, because a bad edit or a key that needs a restart may differ from the file. */
async function show(context: Context): Promise<ExitCode> {
  const connection = await findAgent(context);
  const document = connection !== null ? await connection.agent.config() : await fromFiles(context);
  if (context.json) {
    context.printJson(document);
    return ExitCode.done;
  }
  const { style, host, verbose } = context;
  context.note(
    `${connection === null ? 'no agent is running; it would use' : 'the running agent uses'} ${document.file ?? 'no file (defaults, environment, flags)'}`,
  );
  const rows = document.values.map((value) => {
    const isDefault = value.source === 'default';
    const paint = (text: string) => (isDefault ? style.paint('dim', text) : text);
    return [value.path, shown(value), value.source, value.origin ?? ''].map((text) => ({ text, paint }));
  });
  const columns = [{ title: 'KEY' }, { title: 'VALUE', shrink: true }, { title: 'SOURCE' }, { title: 'ORIGIN', shrink: true }];
  context.print(
    table(columns, rows, { columns: host.stdout.isTty && !verbose ? host.stdout.columns : 0, ellipsis: style.symbols.ellipsis }),
  );
  if (document.problem !== null) context.warn(`${style.paint('bad', 'an edit was refused:')} ${clean(document.problem)}`);
  return ExitCode.done;
}

const shown = ({ value }: Provenance): string =>
  value === null || value === undefined ? '-' : typeof value === 'string' ? value : JSON.stringify(value);

async function fromFiles(context: Context) {
  const { file, provenance } = await context.host.readConfiguration(context.selection, environmentOf(context));
  return { file, values: [...provenance], problem: null };
}

const environmentOf = (context: Context): Readonly<Record<string, string | undefined>> =>
  machineEnvironment(context) ?? context.host.environment;

type CheckedFile = ConfigCheckDocument['files'][number];

/** Reads every file as the agent would; exit 2 when one is bad. */
async function check(context: Context): Promise<ExitCode> {
  const document = await checkFiles(context);
  if (context.json) context.printJson(document);
  else {
    const { style } = context;
    for (const { path, state, problems, warnings } of document.files) {
      context.print(
        `${state === 'bad' ? style.paint('bad', 'bad   ') : state === 'ok' ? style.paint('good', 'ok    ') : style.paint('dim', 'absent')}  ${path}`,
      );
      for (const problem of problems) context.print(`          ${style.paint('bad', clean(problem))}`);
      for (const warning of warnings) context.print(`          ${style.paint('warn', 'warning')} ${clean(warning)}`);
    }
  }
  return document.ok ? ExitCode.done : ExitCode.usage;
}

async function checkFiles(context: Context): Promise<ConfigCheckDocument> {
  const environment = environmentOf(context);
  let configuration: CliConfiguration;
  try {
    configuration = await context.host.readConfiguration(context.selection, environment);
  } catch (error) {
    const problem = asAgentError(error);
    if (problem.exitCode !== ExitCode.usage) throw error;
    return {
      ok: false,
      files: [{ path: context.selection.configFile ?? 'configuration', state: 'bad', problems: problemsOf(problem), warnings: [] }],
    };
  }
  const { config: settings, layout, file, warnings } = configuration;
  const files: CheckedFile[] = [
    { path: file ?? `${layout.root}/agent.yaml`, state: file === null ? 'absent' : 'ok', problems: [], warnings: [...warnings] },
  ];
  const { readConfigNodes } = await import('../../../plan/inputs/config-nodes.ts');
  const { readDirectoryConfig } = await import('../../../plan/inputs/directory-config.ts');
  const { readStaticModels } = await import('../../../plan/inputs/static-models.ts');
  files.push(
    await checkFile(layout.configNodes, (text, path) => readConfigNodes(text, { path, names: settings.packs.names })),
    await checkFile(layout.directoryConfig, (text, path) => readDirectoryConfig(text, { path, environment })),
    await checkFile(layout.staticModels, (text, path) => readStaticModels(text, { path })),
  );
  return { ok: files.every(({ state }) => state !== 'bad'), files };
}

type Reading = { readonly ok: boolean } & Partial<
  Record<'problems' | 'warnings', readonly import('../../../plan/text/problem.ts').TextProblem[]>
>;

async function checkFile(path: string, read: (text: string, path: string) => Reading): Promise<CheckedFile> {
  const { describeProblem } = await import('../../../plan/text/problem.ts');
  let text: string;
  try {
    text = plainText(path);
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === 'ENOENT' || code === 'ENOTDIR') return { path, state: 'absent', problems: [], warnings: [] };
    const why = error instanceof AgentError ? error.message : `${path}: it cannot be read (${code ?? String(error)})`;
    return { path, state: 'bad', problems: [why], warnings: [] };
  }
  const { ok, problems, warnings } = read(text, path);
  return {
    path,
    state: ok ? 'ok' : 'bad',
    problems: (problems ?? []).map(describeProblem),
    warnings: (warnings ?? []).map(describeProblem),
  };
}

const problemsOf = ({ details, message }: AgentError): string[] =>
  Array.isArray(details['problems']) ? details['problems'].map(String) : [message];

/** For editors: the same text as config/agent.schema.json. */
async function schema(context: Context): Promise<ExitCode> {
  const [{ z }, { Config }] = await Promise.all([import('zod'), import('../../../domain/configuration/config.ts')]);
  context.printJson({
    $id: 'agent.schema.json',
    title: 'comfylet configuration',
    ...z.toJSONSchema(Config, { io: 'input', unrepresentable: 'any' }),
  });
  return ExitCode.done;
}
