import { ExitCode } from '../../../domain/errors/registry.ts';
import { withAgent } from '../../client/connect.ts';
import { runOperation } from '../../client/follow.ts';
import { type Command, isSet, numberOf } from '../../context.ts';
import { cleanupLines } from '../../render/cleanup.ts';

/** Outputs, temp, old releases, caches, by policy: by the running agent, or here while none runs. */
export const cleanup: Command = (context, _args, options) => {
  const dryRun = isSet(options, 'dryRun');
  return withAgent(context, dryRun ? 'read' : 'change', async (connection) => {
    const wait = options['wait'] !== false || connection.isLocal;
    const request = { kind: 'cleanup' as const, ...(dryRun ? { dryRun } : {}) };
    const verb = `cleanup${dryRun ? ' --dry-run' : ''}`;
    const operation = await runOperation(context, connection, request, { verb, wait, timeoutMs: numberOf(options, 'timeout') });
    if (context.json) context.printJson(operation.cleanup ?? operation);
    else if (operation.cleanup === undefined) context.print(`${operation.message} (${operation.id})`);
    else context.print(cleanupLines(operation.cleanup, operation.message, context));
    return ExitCode.done;
  });
};
