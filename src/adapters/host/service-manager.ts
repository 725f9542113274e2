import type { ExecFileOptions } from 'node:child_process';
import type { ServiceManager, ServiceState } from '../../ports/host.ts';

/** What systemd put into the environment of a service, taken out of it so that no child gets it. */
export interface ServiceEnvironment {
  /** NOTIFY_SOCKET; null: nobody wants to be told. */
  readonly socket: string | null;
  /** WATCHDOG_USEC, in ms, when it is meant for this process; null: no watchdog. */
  readonly watchdogMs: number | null;
}

/** Names that are of this process alone: a child that had them could speak for the agent, or be taken for it. */
export const SERVICE_NAMES = ['NOTIFY_SOCKET', 'WATCHDOG_USEC', 'WATCHDOG_PID'] as const;

/** Reads them. A watchdog of another process (WATCHDOG_PID) is none. */
export function readServiceEnvironment(environment: Readonly<Record<string, string | undefined>>, pid: number): ServiceEnvironment {
  const socket = environment['NOTIFY_SOCKET'] ?? '';
  const microseconds = Number(environment['WATCHDOG_USEC'] ?? '');
  const isMine = (environment['WATCHDOG_PID'] ?? String(pid)) === String(pid);
  return {
    // A path or an abstract name; another kind (vsock) is not for programs on this machine.
    socket: /^[/@]/.test(socket) ? socket : null,
    watchdogMs: socket !== '' && isMine && Number.isSafeInteger(microseconds) && microseconds >= 1_000 ? microseconds / 1_000 : null,
  };
}

const LIMIT_MS = 10_000;
/** One line of `systemctl status`: a place, what is wrong there and what to do. */
const STATUS_LIMIT = 480;

const PHASES = { ready: ['READY=1'], stopping: ['STOPPING=1'] } as const;

/** The assignments of sd_notify(3). RELOADING wants the monotonic time beside it (systemd 253, Type=notify-reload). */
function assignments({ phase, status, alive }: ServiceState): string[] {
  const lines: string[] = [];
  if (phase === 'reloading') lines.push('RELOADING=1', `MONOTONIC_USEC=${process.hrtime.bigint() / 1_000n}`);
  else if (phase !== undefined) lines.push(...PHASES[phase]);
  if (status !== undefined) lines.push(`STATUS=${status.replace(/\s+/g, ' ').slice(0, STATUS_LIMIT)}`);
  if (alive === true) lines.push('WATCHDOG=1');
  return lines;
}

/**
 * systemd by its own `systemd-notify`: Node has no datagram sockets of the unix domain. It costs 5 to 9 ms of another process
 * for each call, and is there wherever systemd is. The unit needs NotifyAccess=all, and hides the socket from what is not the agent.
 */
export function createServiceManager(options: {
  readonly service: ServiceEnvironment;
  /** Told once, until a call succeeds again. */
  readonly onDeaf: (reason: string) => void;
  /** Another one in tests. */
  readonly program?: string;
}): ServiceManager {
  const { socket, watchdogMs } = options.service;
  let turn: Promise<void> = Promise.resolve();
  let isDeaf = false;
  const send = async (lines: readonly string[]): Promise<void> => {
    try {
      await execute(options.program ?? 'systemd-notify', lines, {
        env: { NOTIFY_SOCKET: socket ?? '', PATH: '/usr/local/bin:/usr/bin:/bin' },
        timeout: LIMIT_MS,
        killSignal: 'SIGKILL',
      });
      isDeaf = false;
    } catch (error) {
      if (!isDeaf) options.onDeaf(error instanceof Error ? error.message : String(error));
      isDeaf = true;
    }
  };
  return {
    watchdogMs: socket === null ? null : watchdogMs,
    notify(state) {
      const lines = assignments(state);
      if (socket === null || lines.length === 0) return Promise.resolve();
      turn = turn.then(() => send(lines));
      return turn;
    },
  };
}

/** Loaded when it is first needed: most commands tell nobody. */
async function execute(file: string, args: readonly string[], options: ExecFileOptions): Promise<void> {
  const { execFile } = await import('node:child_process');
  await new Promise<void>((resolve, reject) => {
    execFile(file, [...args], options, (error) => (error === null ? resolve() : reject(error)));
  });
}
