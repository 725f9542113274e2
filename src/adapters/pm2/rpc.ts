import { AgentError } from '../../domain/errors/errors.ts';

export interface DaemonCall {
  readonly method: string;
  readonly argument: unknown;
  readonly timeoutMs: number;
}

/**
 * One call to PM2's daemon on a connection of its own: PM2's client would wait for ever for a daemon that is gone, whereas a
 * fresh connection is refused at once, and one that closes before the answer tells so. Costs a fraction of a millisecond.
 *
 * @throws AgentError PM2_UNAVAILABLE when the daemon is not there, ends, or does not answer in time
 * @throws AgentError INSTANCE_FAILED with PM2's words when it answers with an error
 */
export async function callDaemon(socketPath: string, call: DaemonCall): Promise<unknown> {
  const [{ default: axon }, { default: rpc }] = await Promise.all([
    import('pm2/modules/pm2-axon/index.js'),
    import('pm2/modules/pm2-axon-rpc/index.js'),
  ]);
  return new Promise((resolve, reject) => {
    const socket = axon.socket('req');
    socket.set('retry timeout', 0);
    let cause: unknown;
    const settle = (finish: () => void) => {
      clearTimeout(timer);
      finish();
      socket.close();
    };
    const unavailable = (what: string, timedOut = false) =>
      settle(() => reject(new AgentError('PM2_UNAVAILABLE', what, { details: { method: call.method, timedOut }, cause })));
    const timer = setTimeout(
      () => unavailable(`the PM2 daemon did not answer ${call.method} within ${call.timeoutMs} ms`, true),
      call.timeoutMs,
    );
    const keep = (error: unknown) => {
      cause = error;
    };
    socket.on('error', keep);
    socket.on('ignored error', keep);
    socket.once('close', () =>
      unavailable(cause === undefined ? `the PM2 daemon ended during ${call.method}` : `the PM2 daemon cannot be reached: ${words(cause)}`),
    );
    socket.once('connect', () => {
      new rpc.Client(socket).call(call.method, call.argument, (error, result) =>
        settle(() =>
          error === null
            ? resolve(result)
            : reject(new AgentError('INSTANCE_FAILED', `PM2 refused ${call.method}: ${words(error)}`, { cause: error })),
        ),
      );
    });
    socket.connect(socketPath);
  });
}

const words = (error: unknown): string => (error instanceof Error ? error.message : String(error));
