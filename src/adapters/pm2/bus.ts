import { z } from 'zod';
import type { ProcessEvent } from '../../domain/instances/instance.ts';
import { BUS_EXIT } from './paths.ts';

const Notice = z.object({ event: z.string(), at: z.number(), process: z.object({ name: z.string() }) });
const Exit = z.object({
  name: z.string(),
  pid: z.int().nullable().default(null),
  exitCode: z.int().nullable(),
  signal: z.string().nullable(),
  requested: z.boolean(),
  at: z.number(),
});
const Output = z.object({ data: z.string(), process: z.object({ name: z.string() }) });

export interface BusListeners {
  readonly onEvent: (event: ProcessEvent) => void;
  /** What an entry wrote before it opened its log: the reason why it could not. */
  readonly onOutput: (name: string, text: string) => void;
  /** The daemon closed the connection, or ended. Called once. */
  readonly onLost: () => void;
}

export interface Bus {
  close(): void;
}

const CONNECT_LIMIT_MS = 2_000;
const OUTPUT_LIMIT = 2_000;

/** Subscribes to PM2's events; null when there is no daemon to subscribe to. */
export async function openBus(socketPath: string, listeners: BusListeners): Promise<Bus | null> {
  const { default: axon } = await import('pm2/modules/pm2-axon/index.js');
  return new Promise((resolve) => {
    const subscriber = axon.socket('sub-emitter');
    subscriber.sock.set('retry timeout', 0);
    let state: 'connecting' | 'open' | 'closed' = 'connecting';
    const end = () => {
      clearTimeout(timer);
      const before = state;
      state = 'closed';
      if (before === 'connecting') resolve(null);
      if (before === 'open') listeners.onLost();
    };
    const close = () => {
      state = 'closed';
      subscriber.close();
    };
    const timer = setTimeout(() => {
      end();
      subscriber.close();
    }, CONNECT_LIMIT_MS);
    subscriber.sock.on('error', () => {});
    subscriber.sock.on('close', end);
    subscriber.sock.once('connect', () => {
      clearTimeout(timer);
      state = 'open';
      resolve({ close });
    });
    subscriber.on('process:event', (message) => {
      const notice = Notice.safeParse(message);
      // PM2 tells one exit twice and without its signal; our daemon tells it once, below.
      if (notice.success && notice.data.event === 'online') {
        listeners.onEvent({ kind: 'online', name: notice.data.process.name, at: notice.data.at });
      }
    });
    subscriber.on(BUS_EXIT, (message) => {
      const exit = Exit.safeParse(message);
      if (exit.success) listeners.onEvent({ kind: 'exit', ...exit.data });
    });
    for (const topic of ['log:err', 'log:out']) {
      subscriber.on(topic, (message) => {
        const output = Output.safeParse(message);
        if (output.success) listeners.onOutput(output.data.process.name, output.data.data.slice(0, OUTPUT_LIMIT).trimEnd());
      });
    }
    subscriber.connect(socketPath);
  });
}
