import { ExitCode } from '../../../domain/errors/registry.ts';
import type { InstanceDocument } from '../../../domain/instances/instance.ts';
import type { OperationKind } from '../../../domain/operation.ts';
import { requireAgent } from '../../client/connect.ts';
import { runOperation } from '../../client/follow.ts';
import { type Command, type Context, isSet, numberOf } from '../../context.ts';
import { readGpus } from '../../grammar/gpu-arguments.ts';
import { statusText } from '../../render/words.ts';

/** start, stop, restart, drain: an operation on some instances, followed until it is so. */
const verb =
  (kind: OperationKind): Command =>
  async (context, args, options) => {
    const connection = await requireAgent(context);
    const gpus = await readGpus(connection.agent, args);
    const wait = options['wait'] !== false;
    const request = { kind, ...(gpus === null ? {} : { gpus: [...gpus] }), ...(isSet(options, 'drain') ? { drain: true } : {}) };
    const operation = await runOperation(context, connection, request, {
      verb: [kind, ...args].join(' '),
      wait,
      timeoutMs: numberOf(options, 'timeout'),
    });
    if (context.json) context.printJson(operation);
    else if (!wait)
      context.print(`${operation.kind} was begun (${operation.id}); \`${context.commandLine('status')}\` shows how far it is`);
    else {
      const { instances } = await connection.agent.instances();
      context.print(instances.filter(({ gpu }) => gpus === null || gpus.includes(gpu)).map((instance) => instanceLine(instance, context)));
    }
    return ExitCode.done;
  };

export const instanceLine = (instance: InstanceDocument, { style }: Context): string => {
  const where = instance.pid === null ? '' : `  port ${instance.port ?? '-'}  pid ${instance.pid}`;
  return `gpu ${instance.gpu}  ${statusText(instance.status, style)}${where}${instance.cordoned ? '  cordoned' : ''}`;
};

export const start = verb('start');
export const stop = verb('stop');
export const restart = verb('restart');
export const drain = verb('drain');
