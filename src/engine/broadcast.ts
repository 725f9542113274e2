/** Values from the moment of the subscription on. `leave` ends it, also when nobody ever read from it. */
export interface Subscription<T> extends AsyncIterable<T> {
  leave(): void;
}

/**
 * One writer, many readers, bounded buffers: a reader that does not keep up is ended (or, where only the newest value
 * counts, misses some), so that it can neither slow the writer nor grow the memory. Ends with its signal or with `close`.
 */
export class Broadcast<T> {
  readonly #readers = new Set<(value: T | undefined) => void>();
  readonly #limit: number;
  readonly #whenFull: 'end' | 'miss';
  #closed = false;

  constructor(limit = 1_000, whenFull: 'end' | 'miss' = 'end') {
    this.#limit = limit;
    this.#whenFull = whenFull;
  }

  /** Readers at this moment. */
  get readers(): number {
    return this.#readers.size;
  }

  publish(value: T): void {
    for (const reader of this.#readers) reader(value);
  }

  close(): void {
    this.#closed = true;
    for (const reader of this.#readers) reader(undefined);
  }

  /** Listens from the moment of the call, also before the first `next`. */
  subscribe(signal: AbortSignal): Subscription<T> {
    const buffer: T[] = [];
    let wake: (() => void) | null = null;
    let ended = this.#closed || signal.aborted;
    const leave = () => {
      this.#readers.delete(reader);
      signal.removeEventListener('abort', end);
    };
    const reader = (value: T | undefined) => {
      const isFull = buffer.length >= this.#limit;
      if (value !== undefined && !isFull) buffer.push(value);
      else if (value === undefined || this.#whenFull === 'end') {
        ended = true;
        leave();
      }
      wake?.();
    };
    const end = () => reader(undefined);
    if (!ended) {
      this.#readers.add(reader);
      signal.addEventListener('abort', end, { once: true });
    }
    return {
      leave: end,
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
