import { z } from 'zod';
import type { ProcessEvent } from '../../domain/instances/instance.ts';
import { BUS_EXIT } from './paths.ts';
import { connectTo } from './wire.ts';

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
export function openBus(socketPath: string, listeners: BusListeners): Promise<Bus | null> {
  return new Promise((resolve) => {
    let isOpen = false;
    const timer = setTimeout(() => {
      connection.close();
      resolve(null);
    }, CONNECT_LIMIT_MS);
    const connection = connectTo(socketPath, {
      onConnect: () => {
        clearTimeout(timer);
        isOpen = true;
        resolve(connection);
      },
      onMessage: ([topic, message]) => {
        if (typeof topic === 'string') hear(topic, message, listeners);
      },
      onEnd: () => {
        clearTimeout(timer);
        if (isOpen) listeners.onLost();
        else resolve(null);
      },
    });
  });
}

function hear(topic: string, message: unknown, { onEvent, onOutput }: BusListeners): void {
  if (topic === 'process:event') {
    const notice = Notice.safeParse(message);
    // PM2 tells one exit twice and without its signal; our daemon tells it once, below.
    if (notice.success && notice.data.event === 'online') onEvent({ kind: 'online', name: notice.data.process.name, at: notice.data.at });
  } else if (topic === BUS_EXIT) {
    const exit = Exit.safeParse(message);
    if (exit.success) onEvent({ kind: 'exit', ...exit.data });
  } else if (topic === 'log:err' || topic === 'log:out') {
    const output = Output.safeParse(message);
    if (output.success) onOutput(output.data.process.name, output.data.data.slice(0, OUTPUT_LIMIT).trimEnd());
  }
}
