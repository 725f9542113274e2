import { isAbsolute, join } from 'node:path';
import { AgentError } from '../../domain/errors/errors.ts';

/** Files in PM2_HOME that the agent and PM2's daemon share. */
export interface Pm2Paths {
  readonly home: string;
  /** Socket for calls. */
  readonly rpc: string;
  /** Socket for events. */
  readonly bus: string;
  readonly pid: string;
  readonly pids: string;
}

/** What the daemon answers to `getReport`. */
export interface DaemonReport {
  readonly pid: number;
  /** Raised when the agent and an older daemon no longer understand each other. */
  readonly protocol: number;
}

/** Event that our daemon adds to PM2's bus: one for each end of a process. */
export const BUS_EXIT = 'agent:exit';

/** Exit code of a daemon that ends because another one has its home. */
export const DAEMON_EXIT_TAKEN = 3;

/** sizeof(sun_path) less its final zero: longer paths cannot be bound or connected on Linux. */
const SOCKET_PATH_LIMIT = 107;

/** @throws AgentError CONFIG_INVALID when its sockets would have too long a path, or one that depends on who looks */
export function pm2Paths(home: string): Pm2Paths {
  if (!isAbsolute(home)) throw new AgentError('CONFIG_INVALID', `PM2_HOME is "${home}" and must be an absolute path`);
  const paths = { home, rpc: join(home, 'rpc.sock'), bus: join(home, 'pub.sock'), pid: join(home, 'pm2.pid'), pids: join(home, 'pids') };
  const length = Buffer.byteLength(paths.rpc);
  if (length > SOCKET_PATH_LIMIT) {
    throw new AgentError(
      'CONFIG_INVALID',
      `PM2 cannot use ${home}: its socket path has ${length} bytes, the system allows ${SOCKET_PATH_LIMIT}`,
      {
        help: 'choose a shorter state directory with AGENT_STATE_DIR',
        details: { path: paths.rpc, bytes: length, limit: SOCKET_PATH_LIMIT },
      },
    );
  }
  return paths;
}
