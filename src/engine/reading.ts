import type { DesiredState } from '../domain/state/state.ts';
import { isThere } from '../plan/cards/missing.ts';
import { chooseCards, resolve } from '../plan/resolve.ts';
import type { Knowledge } from './knowledge.ts';

/**
 * All that decides what should be, as it stood at one moment. What is wanted and what is seen in one look are both made of one
 * reading, so that nothing which arrives meanwhile is in one of them alone.
 */
export type Reading = Readonly<
  Pick<
    Knowledge,
    'configuration' | 'inputs' | 'intents' | 'leases' | 'gpus' | 'cards' | 'gpusAskedAt' | 'machine' | 'models' | 'stopping' | 'switching'
  >
>;

export function takeReading(knowledge: Knowledge): Reading {
  const { configuration, inputs, intents, leases, gpus, cards, gpusAskedAt, machine, models, stopping, switching } = knowledge;
  return { configuration, inputs, intents, leases, gpus, cards, gpusAskedAt, machine, models, stopping, switching };
}

/** What should be, by this reading and nothing else. */
export function desiredBy({ configuration, inputs, cards, intents, stopping }: Reading): DesiredState {
  const { config, generation } = configuration;
  const desired = resolve({ config, packs: inputs.packs, lock: inputs.lock, gpus: cards, intents, generation });
  return stopping ? { ...desired, instances: desired.instances.map((instance) => ({ ...instance, draining: true })) } : desired;
}

/** Something else is wanted by now: what was looked for no longer answers the question. */
export const isOutdated = (then: Reading, now: Reading): boolean =>
  then.configuration !== now.configuration ||
  then.inputs !== now.inputs ||
  then.intents !== now.intents ||
  then.leases !== now.leases ||
  then.stopping !== now.stopping ||
  then.switching !== now.switching ||
  places(then) !== places(now);

/** Cards tell their temperature with every reading: what counts is which there are, and which may be used. */
const places = ({ configuration, cards }: Reading): string =>
  JSON.stringify(
    chooseCards(configuration.config.gpu, cards).cards.map(({ index, gpu }) => [index, gpu?.uuid, gpu === null || isThere(gpu)]),
  );
