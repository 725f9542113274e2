import type { Gpu, GpuReading } from '../../domain/cards/gpu.ts';
import type { RosterCard } from '../../domain/cards/roster.ts';
import { AgentError, asAgentError } from '../../domain/errors/errors.ts';
import { known } from '../../domain/observed.ts';
import { divideCards, keptParts } from '../../plan/cards/mig.ts';
import { acceptCards, cardsOfRoster, rosterOf, updateRoster } from '../../plan/cards/roster.ts';
import { withInstance } from '../../plan/instances/intents.ts';

import type { Journal } from '../journal.ts';
import type { Knowledge } from '../knowledge.ts';
import type { StateFiles } from '../state/files.ts';
import type { StateStore } from '../state/store.ts';

export interface CardSlotsOptions {
  readonly knowledge: Knowledge;
  readonly files: Pick<StateFiles, 'saveRoster'>;
  readonly state: StateStore;
  readonly journal: Journal;
  /** Only the agent itself writes down what it saw. */
  readonly keeps: boolean;
}

/** Which card has which slot: kept over readings, restarts and reboots, and changed by an operator alone. */
export class CardSlots {
  readonly #options: CardSlotsOptions;
  /** Why it could not be written down, as told last. */
  #trouble: string | null = null;

  constructor(options: CardSlotsOptions) {
    this.#options = options;
  }

  /** Takes a reading that succeeded: each card under its own slot. */
  async take(reading: GpuReading): Promise<void> {
    const { knowledge, journal } = this.#options;
    const { cards, roster } = knowledge;
    // Mock cards are in no roster, and a time with them takes nothing from it.
    const before = cards.known && cards.value.gpus.length > 0 ? cards : cardsOfRoster(roster, cards);
    const { mig } = knowledge.configuration.config.gpu;
    const places = updateRoster(keptParts(before, mig), divideCards(reading, mig));
    knowledge.gpus = known(places.listed);
    knowledge.cards = known(places.cards);
    if (places.takenOver.length > 0)
      journal.record({
        type: 'cards.other',
        target: 'agent',
        level: 'warn',
        message: `none of the cards of before is here (${uuids(places.takenOver)}): another machine, or an image of one; its ${places.cards.gpus.length} cards take their slots`,
        data: { before: places.takenOver.map(({ uuid }) => uuid), now: places.cards.gpus.map(({ uuid }) => uuid) },
      });
    await this.#keep(places.cards);
  }

  /**
   * The present cards are all there will be: missing ones are forgotten, a replacement gets the slot of what it replaces.
   * Saved first: what could not be is not done.
   * @throws AgentError HELD where there is nothing to accept, or the cards cannot be seen; what the state directory says
   */
  async accept(): Promise<void> {
    const { knowledge, files, state, journal } = this.#options;
    const { gpus, cards } = knowledge;
    if (!gpus.known) throw new AgentError('HELD', `the cards cannot be seen, so none is forgotten: ${gpus.reason}`);
    if (!cards.known || gpus.value.gpus.length === 0) throw new AgentError('HELD', 'the driver lists no card, so none is forgotten');
    const { forgotten, replaced, ...next } = acceptCards(cards.value, gpus.value);
    if (forgotten.length === 0 && replaced.length === 0)
      throw new AgentError('HELD', 'every card that has a slot is there: there is nothing to accept', { help: 'see `agent gpus`' });
    const roster = rosterOf(next.cards);
    await files.saveRoster(roster);
    // A reading may have come meanwhile, and counts.
    const now = knowledge.cards === cards ? next : acceptCards(knowledge.cards.known ? knowledge.cards.value : next.cards, gpus.value);
    knowledge.roster = roster;
    knowledge.cards = known(now.cards);
    knowledge.gpus = known(now.listed);
    journal.record({
      type: 'cards.accepted',
      target: 'agent',
      level: 'info',
      message: [
        ...forgotten.map(({ index, uuid }) => `slot ${index} is free: ${uuid} is forgotten`),
        ...replaced.map(({ slot, formerly, gpu }) => `slot ${slot} was ${formerly}, and is ${gpu.uuid}`),
      ].join('; '),
      data: { cards: roster.map(({ slot, uuid }) => `${slot} ${uuid}`) },
    });
    // What was held against the old card is not the fault of the new one.
    await state.change((intents) =>
      replaced.reduce((before, { slot }) => withInstance(before, slot, { quarantined: null, quarantine: null }), intents),
    );
  }

  /** Written when the set of cards changes; tried again with each reading while it cannot be. */
  async #keep(cards: GpuReading): Promise<void> {
    const { knowledge, files, journal, keeps } = this.#options;
    const roster = rosterOf(cards);
    if (!keeps || isSame(roster, knowledge.roster)) return;
    try {
      await files.saveRoster(roster);
      knowledge.roster = roster;
      this.#trouble = null;
    } catch (error) {
      const { code, message } = asAgentError(error);
      if (this.#trouble === code) return;
      this.#trouble = code;
      journal.record({
        type: 'cards.not-kept',
        target: 'agent',
        level: 'warn',
        message: `which card has which slot could not be written down, and a restart would not know it: ${message}`,
        data: { code },
      });
    }
  }
}

const isSame = (a: readonly RosterCard[], b: readonly RosterCard[]): boolean => JSON.stringify(a) === JSON.stringify(b);

const uuids = (cards: readonly Gpu[]): string => cards.map(({ uuid }) => uuid).join(', ');
