import type { KernelMessage } from '../../src/domain/cards/kernel-message.ts';
import { AgentError } from '../../src/domain/errors/errors.ts';
import type { KernelLog } from '../../src/ports/kernel.ts';

export interface FakeKernelLog {
  readonly kernelLog: KernelLog;
  say(text: string): void;
  /** From now on it may not be read. */
  forbid(): void;
}

/** The log of a kernel in memory. */
export function createFakeKernelLog(options: { readonly now?: () => number } = {}): FakeKernelLog {
  const now = options.now ?? Date.now;
  const messages: KernelMessage[] = [];
  const listeners = new Set<(message: KernelMessage) => void>();
  const enders = new Set<() => void>();
  let forbidden = false;
  const refuse = (): void => {
    if (forbidden) throw new AgentError('KERNEL_LOG_UNREADABLE', 'the kernel log cannot be read: not permitted');
  };
  return {
    kernelLog: {
      read: async (words) => {
        refuse();
        return messages.filter(({ text }) => text.includes(words));
      },
      follow: async (words, onMessage, signal) => {
        refuse();
        const listener = (message: KernelMessage): void => {
          if (message.text.includes(words)) onMessage(message);
        };
        for (const message of messages) listener(message);
        listeners.add(listener);
        const { promise, resolve } = Promise.withResolvers<void>();
        enders.add(resolve);
        signal.addEventListener('abort', () => resolve(), { once: true });
        await promise;
        listeners.delete(listener);
        if (!signal.aborted) refuse();
      },
    },
    say: (text) => {
      const message = { at: now(), text };
      messages.push(message);
      for (const listener of listeners) listener(message);
    },
    forbid: () => {
      forbidden = true;
      for (const end of enders) end();
    },
  };
}
