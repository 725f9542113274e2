import type { Action } from '../../../domain/action.ts';
import { ExitCode } from '../../../domain/errors/registry.ts';
import { withAgent } from '../../client/connect.ts';
import type { Command, Context } from '../../context.ts';
import { describeDuration } from '../../render/duration.ts';
import { clean, hanging } from '../../render/text.ts';

/** `agent plan`: what would be done now, and what is not done and why. */
export const plan: Command = (context) =>
  withAgent(context, 'read', async ({ agent, isLocal }) => {
    const document = await agent.plan();
    if (context.json) {
      context.printJson(document);
      return ExitCode.done;
    }
    if (isLocal) context.note('no agent is running: this is what one would do first');
    const lines = [
      ...document.actions.map((action) => actionLine(action, context)),
      ...document.holds.flatMap((hold) => holdLines(hold, context)),
    ];
    context.print(lines.length === 0 ? 'nothing to do: everything is as it should be' : lines);
    return ExitCode.done;
  });

const actionLine = (action: Action, { style }: Context): string => {
  const what =
    action.kind === 'install'
      ? 'build a release'
      : action.kind === 'lease-port'
        ? `give gpu ${action.gpu} port ${action.tcpPort}`
        : action.kind.replace('-', ' ') + target(action);
  return `${style.paint('info', 'do')}    ${what}: ${clean(action.reason)}`;
};

const target = (action: Action): string => ('gpu' in action ? ` gpu ${action.gpu}` : 'name' in action ? ` ${clean(action.name)}` : '');

function holdLines(
  hold: { readonly target: string; readonly code: string; readonly reason: string; readonly help: string; readonly since: string },
  { style, host }: Context,
): string[] {
  const columns = host.stdout.isTty ? host.stdout.columns : 0;
  return [
    ...hanging(
      `${style.paint('warn', 'held')}  ${style.paint('bold', hold.target)}: `,
      `${clean(hold.reason)} (${hold.code}, ${describeDuration(Date.now() - Date.parse(hold.since))})`,
      columns,
    ),
    ...hanging(`      ${style.symbols.arrow} `, clean(hold.help), columns),
  ];
}
