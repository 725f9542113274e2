import { z } from 'zod';
import { AgentError, isAgentError } from '../../domain/errors/errors.ts';
import { connectTo } from './wire.ts';

export interface DaemonCall {
  readonly method: string;
  readonly argument: unknown;
  readonly timeoutMs: number;
}

/** As PM2's rpc server answers: what the method called back with, or the words of its error. */
const Answer = z.union([z.object({ error: z.unknown() }), z.object({ args: z.array(z.unknown()) })]);
const ID = 'call';
const MAX_WORDS = 2_000;

/**
 * One call to PM2's daemon on a connection of its own: PM2's client would wait for ever for a daemon that is gone, whereas a
 * fresh connection is refused at once, and one that closes before the answer tells so. Costs a fraction of a millisecond.
 *
 * @throws AgentError PM2_UNAVAILABLE when the daemon is not there, ends, does not answer in time, or is none
 * @throws AgentError INSTANCE_FAILED with PM2's words when it answers with an error
 */
export function callDaemon(socketPath: string, { method, argument, timeoutMs }: DaemonCall): Promise<unknown> {
  return new Promise((resolve, reject) => {
    const settle = (finish: () => void): void => {
      clearTimeout(timer);
      connection.close();
      finish();
    };
    const unavailable = (what: string, timedOut: boolean, cause?: unknown): void =>
      settle(() => reject(new AgentError('PM2_UNAVAILABLE', what, { details: { method, timedOut }, cause })));
    const timer = setTimeout(() => unavailable(`the PM2 daemon did not answer ${method} within ${timeoutMs} ms`, true), timeoutMs);
    const connection = connectTo(socketPath, {
      onConnect: () => connection.send([{ type: 'call', method, args: [argument] }, ID]),
      onMessage: (message) => {
        if (message.at(-1) !== ID) return;
        const { data } = Answer.safeParse(message[0]);
        if (data === undefined) unavailable(`the PM2 daemon answered ${method} in an unknown form`, false);
        else if ('args' in data) settle(() => resolve(data.args[0]));
        else settle(() => reject(new AgentError('INSTANCE_FAILED', `PM2 refused ${method}: ${words(data.error)}`, { cause: data.error })));
      },
      onEnd: (cause) => {
        if (isAgentError(cause)) settle(() => reject(cause));
        else if (cause === undefined) unavailable(`the PM2 daemon ended during ${method}`, false);
        else unavailable(`the PM2 daemon cannot be reached: ${words(cause)}`, false, cause);
      },
    });
  });
}

const words = (error: unknown): string => (error instanceof Error ? error.message : String(error)).slice(0, MAX_WORDS);
