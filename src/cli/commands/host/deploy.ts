import { resolve } from 'node:path';
import { ExitCode } from '../../../domain/errors/registry.ts';
import type { DeployDocument, DeployHost } from '../../../domain/host/deploy.ts';
import { type Command, type Context, isSet, numberOf, type Options, textOf } from '../../context.ts';
import { patience } from '../../interrupt.ts';
import { deployView } from '../../render/deploy.ts';
import { describeDuration } from '../../render/duration.ts';
import { table } from '../../render/table.ts';
import { clean } from '../../render/text.ts';

const PARALLEL = 4;
const TIMEOUT_MS = 30 * 60_000;

/** `agent deploy user@host…`: one live line for each host, a table at the end; exit 1 when one failed. */
export const deploy: Command = async (context, hosts, options) => {
  const limit = patience(context.host, null);
  const view = deployView(context, hosts);
  try {
    const done = await context.host.deploy(requestOf(context, hosts, options), view.update, limit.signal);
    view.end();
    const document: DeployDocument = { ok: done.every(({ step }) => step === 'done'), hosts: [...done] };
    if (context.json) context.printJson(document);
    else context.print(resultLines(context, document, isSet(options, 'dryRun')));
    return limit.ended === 'interrupted' ? ExitCode.interrupted : document.ok ? ExitCode.done : ExitCode.failed;
  } finally {
    view.end();
    limit.dispose();
  }
};

function requestOf({ host, selection }: Context, hosts: readonly string[], options: Options) {
  const file = (name: string): string | null => {
    const text = textOf(options, name);
    return text === null ? null : resolve(host.workingDirectory, text);
  };
  const { configFile } = selection;
  return {
    hosts,
    binary: file('binary'),
    // Only one that was named: the file of this machine may be wrong for others.
    configuration: configFile === null ? null : resolve(host.workingDirectory, configFile),
    secrets: file('secrets'),
    sshConfig: file('sshConfig'),
    provider: textOf(options, 'provider'),
    device: textOf(options, 'device'),
    format: isSet(options, 'format'),
    dryRun: isSet(options, 'dryRun'),
    parallel: Math.max(1, numberOf(options, 'parallel') ?? PARALLEL),
    timeoutMs: numberOf(options, 'timeout') ?? TIMEOUT_MS,
  };
}

function resultLines({ style, host }: Context, { hosts }: DeployDocument, isDry: boolean): string[] {
  const result = ({ step, message, error }: DeployHost) => (step === 'done' ? message : `${error?.code ?? step}: ${clean(message)}`);
  const rows = hosts.map((each) => {
    const tone = each.step === 'done' ? 'good' : 'bad';
    return [
      each.host,
      {
        text: `${each.step === 'done' ? style.symbols.good : style.symbols.bad} ${result(each)}`,
        paint: (text: string) => style.paint(tone, text),
      },
      describeDuration(each.durationMs),
    ];
  });
  const lines = table([{ title: 'HOST' }, { title: 'RESULT', shrink: true }, { title: 'TIME', align: 'right' }], rows, {
    columns: host.stdout.isTty ? host.stdout.columns : 0,
    ellipsis: style.symbols.ellipsis,
  });
  const plans = isDry
    ? hosts.flatMap((each) => (each.plan.length === 0 ? [] : ['', `${each.host}:`, ...each.plan.map((line) => `  ${clean(line)}`)]))
    : [];
  const helps = hosts.flatMap(({ host: name, error }) =>
    error === null ? [] : [`${style.paint('info', 'help')} (${name}): ${clean(error.help)}`],
  );
  return [...lines, ...plans, ...helps];
}
