import { z } from 'zod';
import { Gpu } from './gpu.ts';

/** What stays of a card while nobody reads it: an instance is the same one after a restart, whatever the driver says by then. */
const Identity = Gpu.pick({
  uuid: true,
  name: true,
  pciBusId: true,
  memoryTotalBytes: true,
  driverVersion: true,
  computeMode: true,
  migMode: true,
  migDevices: true,
});

/** A card and the slot that is its own: the number of its instance, port and folders. */
export const RosterCard = Identity.extend({ slot: z.int().min(0).max(65_535), partOf: z.string().nullable().default(null) });
export type RosterCard = z.infer<typeof RosterCard>;

const isSet = (values: readonly (string | number)[]): boolean => new Set(values).size === values.length;

/** state/cards.json: which card has which slot. */
export const Roster = z
  .object({ schema: z.literal(1), cards: z.array(RosterCard).max(1_024) })
  .refine(
    ({ cards }) => isSet(cards.map(({ slot }) => slot)) && isSet(cards.map(({ uuid }) => uuid)),
    'a slot or a card stands there twice',
  );
export type Roster = z.infer<typeof Roster>;
