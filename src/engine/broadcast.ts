/**
 * One writer, many readers, bounded buffers: a reader that does not keep up is ended, so that it can neither slow the
 * writer nor grow the memory. Ends with its signal or with `close`.
 */
export class Broadcast<T> {
  readonly #readers = new Set<(value: T | undefined) => void>();
  readonly #limit: number;
  #closed = false;

  constructor(limit = 1_000) {
    this.#limit = limit;
  }

  publish(value: T): void {
    for (const reader of this.#readers) reader(value);
  }

  close(): void {
    this.#closed = true;
    for (const reader of this.#readers) reader(undefined);
  }

  /** Listens from the moment of the call, also before the first `next`. */
  subscribe(signal: AbortSignal): AsyncIterable<T> {
    const buffer: T[] = [];
    let wake: (() => void) | null = null;
    let ended = this.#closed || signal.aborted;
    const reader = (value: T | undefined) => {
      if (value === undefined || buffer.length >= this.#limit) ended = true;
      else buffer.push(value);
      wake?.();
    };
    const end = () => reader(undefined);
    this.#readers.add(reader);
    signal.addEventListener('abort', end, { once: true });
    const leave = () => {
      this.#readers.delete(reader);
      signal.removeEventListener('abort', end);
    };
    return {
      async *[Symbol.asyncIterator]() {
        try {
          while (true) {
            const value = buffer.shift();
            if (value !== undefined) {
              yield value;
              continue;
            }
            if (ended) return;
            await new Promise<void>((resolve) => {
              wake = resolve;
            });
            wake = null;
          }
        } finally {
          leave();
        }
      },
    };
  }
}
