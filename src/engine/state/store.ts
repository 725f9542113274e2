import { asAgentError } from '../../domain/errors/errors.ts';
import type { PortLease } from '../../domain/instances/instance.ts';
import type { Intents, Unsaved } from '../../domain/state/state.ts';
import type { Journal } from '../journal.ts';
import type { StateFiles } from './files.ts';

/** What must outlive the agent, as it stands. Only the store changes it. */
interface Held {
  intents: Intents;
  leases: readonly PortLease[];
}

/**
 * The one writer of what outlives the agent. A wish is saved first and taken over then: one that cannot be saved is as if it
 * had never been asked. Changes follow each other, so that none loses another.
 */
export class StateStore {
  readonly #write: { readonly [Key in keyof Held]: (value: Held[Key]) => Promise<void> };
  readonly #held: Held;
  readonly #journal: Journal;
  #turn: Promise<void> = Promise.resolve();
  readonly #unsaved = { what: new Set<string>(), reason: '' };
  readonly #stale = new Set<keyof Held>();

  constructor(files: StateFiles, held: Held, journal: Journal) {
    this.#write = { intents: (intents) => files.saveIntents(intents), leases: (leases) => files.saveLeases(leases) };
    this.#held = held;
    this.#journal = journal;
  }

  /** null: what is known is written. */
  get unsaved(): Unsaved | null {
    return this.#unsaved.what.size === 0 ? null : { what: [...this.#unsaved.what], reason: this.#unsaved.reason };
  }

  /**
   * Saves what `edit` makes of the wishes, then takes it over. May be called more than once: it is given what stands at its turn.
   * @throws what writing throws; nothing was changed then
   */
  change(edit: (intents: Intents) => Intents): Promise<void> {
    return this.#inTurn(async () => {
      for (;;) {
        const before = this.#held.intents;
        const after = edit(before);
        if (after === before) return;
        await this.#save('intents', after);
        if (this.#held.intents === before) {
          this.#held.intents = after;
          return;
        }
        // Something was noted meanwhile: the file is without it, and has what may yet fail.
        this.#stale.add('intents');
      }
    });
  }

  /**
   * For what is right to do although it cannot be remembered: taken over at once, and written when it can be.
   * @param what for people, "the quarantine of instance 0"
   * @returns null, or why it is not remembered
   */
  note(what: string, edit: (intents: Intents) => Intents): Promise<string | null> {
    return this.#note('intents', what, edit);
  }

  /** The same for ports. */
  noteLeases(what: string, edit: (leases: readonly PortLease[]) => readonly PortLease[]): Promise<string | null> {
    return this.#note('leases', what, edit);
  }

  /** Resolves when everything asked for so far is written, or failed. */
  settled(): Promise<void> {
    return this.#turn;
  }

  /** Tries again to write what could not be written. */
  saveAgain(): Promise<void> {
    if (this.#stale.size === 0) return Promise.resolve();
    return this.#inTurn(async () => {
      for (const key of [...this.#stale]) await this.#save(key, this.#held[key]).catch((error: unknown) => this.#missed(error));
    });
  }

  async #note<Key extends keyof Held>(key: Key, what: string, edit: (held: Held[Key]) => Held[Key]): Promise<string | null> {
    const before = this.#held[key];
    const after = edit(before);
    if (after === before) return null;
    this.#held[key] = after;
    let reason: string | null = null;
    await this.#inTurn(async () => {
      await this.#save(key, this.#held[key]).catch((error: unknown) => {
        this.#stale.add(key);
        reason = this.#missed(error, what);
      });
    });
    return reason;
  }

  #inTurn(work: () => Promise<void>): Promise<void> {
    const turn = this.#turn.then(work);
    this.#turn = turn.catch(() => undefined);
    return turn;
  }

  async #save<Key extends keyof Held>(key: Key, value: Held[Key]): Promise<void> {
    await this.#write[key](value);
    this.#stale.delete(key);
    if (this.#stale.size > 0 || this.#unsaved.what.size === 0) return;
    const what = [...this.#unsaved.what].join(', ');
    this.#unsaved.what.clear();
    this.#journal.record({ type: 'state.saved', target: 'agent', level: 'info', message: `remembered by now: ${what}`, data: {} });
  }

  #missed(error: unknown, what?: string): string {
    const { message, code } = asAgentError(error);
    this.#unsaved.reason = message;
    if (what === undefined || this.#unsaved.what.has(what)) return message;
    this.#unsaved.what.add(what);
    this.#journal.record({
      type: 'state.unsaved',
      target: 'agent',
      level: 'warn',
      message: `done, but not remembered: ${what}; ${message} [${code}]`,
      data: { what, reason: message },
    });
    return message;
  }
}
