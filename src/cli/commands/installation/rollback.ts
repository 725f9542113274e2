import { ExitCode } from '../../../domain/errors/registry.ts';
import { withAgent } from '../../client/connect.ts';
import { runOperation } from '../../client/follow.ts';
import { type Command, isSet, numberOf } from '../../context.ts';

/** Back to a proved release: in the running agent, or here while none runs. */
export const rollback: Command = (context, [release], options) =>
  withAgent(context, 'change', async (connection) => {
    const dryRun = isSet(options, 'dryRun');
    if (connection.isLocal && !dryRun)
      context.note('no agent is running: the release is switched in this command, and used by the next agent');
    const wait = options['wait'] !== false || connection.isLocal || dryRun;
    const atOnce = isSet(options, 'now');
    const request = {
      kind: 'rollback' as const,
      ...(release === undefined ? {} : { release }),
      ...(atOnce ? { atOnce } : {}),
      ...(dryRun ? { dryRun } : {}),
    };
    const verb = [
      'rollback',
      ...(release === undefined ? [] : [release]),
      ...(atOnce ? ['--now'] : []),
      ...(dryRun ? ['--dry-run'] : []),
    ].join(' ');
    const operation = await runOperation(context, connection, request, { verb, wait, timeoutMs: numberOf(options, 'timeout') });
    if (context.json) context.printJson(operation);
    else context.print(wait ? operation.message : `${operation.message} (${operation.id})`);
    return ExitCode.done;
  });
