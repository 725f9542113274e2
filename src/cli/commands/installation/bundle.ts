import { resolve } from 'node:path';
import { ExitCode } from '../../../domain/errors/registry.ts';
import { withAgent } from '../../client/connect.ts';
import { runOperation } from '../../client/follow.ts';
import { type Command, isSet, numberOf } from '../../context.ts';

/** bundle create FILE: by the running agent, or here while none runs. */
export const bundle: Command = (context, [action = 'create', file = ''], options) =>
  withAgent(context, 'change', async (connection) => {
    const wait = options['wait'] !== false || connection.isLocal;
    const withModels = isSet(options, 'withModels');
    const request = {
      kind: 'bundle' as const,
      bundle: resolve(context.host.workingDirectory, file),
      ...(withModels ? { withModels } : {}),
    };
    const verb = `bundle ${action} ${file}${withModels ? ' --with-models' : ''}`;
    const operation = await runOperation(context, connection, request, { verb, wait, timeoutMs: numberOf(options, 'timeout') });
    if (context.json) context.printJson(operation);
    else context.print(wait ? operation.message : `${operation.message} (${operation.id})`);
    return ExitCode.done;
  });
