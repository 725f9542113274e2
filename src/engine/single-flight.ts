/**
 * Work that is asked for often and done by one at a time.
 *
 * Invariants:
 * - Two turns never overlap.
 * - Whoever asks while a turn runs gets one more turn, which begins after that; all who asked meanwhile share it.
 * - The promise that `ask` returns ends with the last turn that anybody who shares it asked for.
 * - A turn that fails is told to `onError`, and the next one that is asked for begins as ever.
 */
export class SingleFlight {
  readonly #work: () => Promise<void>;
  readonly #onError: (error: unknown) => void;
  #turns: Promise<void> | null = null;
  #isAsked = false;
  #isClosed = false;

  constructor(work: () => Promise<void>, onError: (error: unknown) => void) {
    this.#work = work;
    this.#onError = onError;
  }

  ask(): Promise<void> {
    this.#isAsked = true;
    this.#turns ??= this.#run();
    return this.#turns;
  }

  /** No turn is begun any more, but for one that is asked for while none runs. @returns the end of the one that runs */
  async close(): Promise<void> {
    this.#isClosed = true;
    await this.#turns;
  }

  async #run(): Promise<void> {
    try {
      do {
        this.#isAsked = false;
        await this.#work();
      } while (this.#isAsked && !this.#isClosed);
    } catch (error) {
      this.#onError(error);
    } finally {
      this.#turns = null;
    }
  }
}
