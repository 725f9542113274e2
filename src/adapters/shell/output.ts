const TAIL_BYTES = 16 * 1024;
/** Characters; a line that never ends is cut here, so that it cannot fill the memory. */
const LINE_LIMIT = 64 * 1024;

/**
 * Splits a stream into lines: `\n`, `\r\n` and a lone `\r` (progress meters) end one. Empty lines are not handed on.
 * Holds state between chunks, hence a class.
 */
export class LineSplitter {
  readonly #onLine: (line: string) => void;
  readonly #decoder = new TextDecoder();
  #rest = '';
  #isCut = false;

  constructor(onLine: (line: string) => void) {
    this.#onLine = onLine;
  }

  add(chunk: Uint8Array): void {
    this.#split(this.#decoder.decode(chunk, { stream: true }));
  }

  /** Hands on what came last without a line end. */
  end(): void {
    this.#split(this.#decoder.decode());
    this.#hand(this.#rest);
    this.#rest = '';
  }

  #split(text: string): void {
    const parts = text.split(/[\r\n]/);
    const last = parts.pop() ?? '';
    for (const part of parts) {
      this.#hand(this.#rest + part);
      this.#rest = '';
      this.#isCut = false;
    }
    this.#rest += last;
    if (this.#rest.length < LINE_LIMIT) return;
    this.#hand(this.#rest);
    this.#rest = '';
    this.#isCut = true;
  }

  /** The first part of a line that is too long is handed on, the rest of it is not. */
  #hand(line: string): void {
    if (line !== '' && !this.#isCut) this.#onLine(line.slice(0, LINE_LIMIT));
  }
}

/** The first `limit` bytes of a stream. */
export class Head {
  readonly #limit: number;
  readonly #chunks: Uint8Array[] = [];
  #bytes = 0;

  constructor(limit: number) {
    this.#limit = limit;
  }

  add(chunk: Uint8Array): void {
    if (this.#bytes >= this.#limit) return;
    this.#chunks.push(chunk.subarray(0, this.#limit - this.#bytes));
    this.#bytes += chunk.length;
  }

  text(): string {
    return Buffer.concat(this.#chunks).toString('utf8');
  }
}

/** The last 16 KiB of what is added. */
export class Tail {
  readonly #chunks: Uint8Array[] = [];
  #bytes = 0;

  add(chunk: Uint8Array): void {
    this.#chunks.push(chunk);
    this.#bytes += chunk.length;
    while (this.#bytes - (this.#chunks[0]?.length ?? 0) >= TAIL_BYTES) this.#bytes -= this.#chunks.shift()?.length ?? 0;
  }

  text(): string {
    return Buffer.concat(this.#chunks).subarray(-TAIL_BYTES).toString('utf8');
  }
}
