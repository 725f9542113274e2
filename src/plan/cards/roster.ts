import type { Gpu, GpuReading, WaitingGpu } from '../../domain/cards/gpu.ts';
import type { RosterCard } from '../../domain/cards/roster.ts';
import { known, type Observed } from '../../domain/observed.ts';

/**
 * Which card is which. nvidia-smi numbers the cards that are left anew when one is gone: an instance would change its card,
 * and the one of the lost card would seem unwanted. So a card keeps the slot under which it was first seen, over restarts of
 * the agent and of the machine, and one that is gone keeps its place until an operator accepts that it is.
 */
export interface Places {
  /** The newest answer, each card under its own slot; those that wait for a slot among them, under a number that is free. */
  readonly listed: GpuReading;
  /** All cards that have a slot; those that the driver does not list are `missing`, as they were last seen. */
  readonly cards: GpuReading;
  /** Cards of before that lost their slots because not one of them is there. */
  readonly takenOver: readonly Gpu[];
}

export function updateRoster(before: Observed<GpuReading>, reading: GpuReading): Places {
  const all = before.known ? before.value.gpus : [];
  const found = new Map(reading.gpus.map((gpu) => [gpu.uuid, gpu]));
  // The disk of another machine, or an image of it: nothing of what the old cards had can be kept for them.
  const isOther = reading.gpus.length > 0 && all.length > 0 && all.every(({ state, uuid }) => state === 'unread' && !found.has(uuid));
  const old = isOther ? [] : all;
  const kept = old.map((card): Gpu => {
    const now = found.get(card.uuid);
    if (now === undefined) return { ...card, driverIndex: null, state: 'missing', processes: [] };
    return { ...(now.state === 'ok' ? now : withIdentity(now, card)), index: card.index };
  });
  const slots = new Set(kept.map((card) => card.index));
  const fresh = reading.gpus.filter((gpu) => old.every((card) => card.uuid !== gpu.uuid));
  const replaced = pairReplacements(
    fresh,
    kept.filter((card) => card.state === 'missing'),
  );
  const added = fresh.filter((gpu) => !replaced.has(gpu.uuid)).map((gpu) => ({ ...gpu, index: takeFree(slots, gpu.index) }));
  const cards = [...kept, ...added].sort((a, b) => a.index - b.index);
  const waiting = fresh.flatMap((gpu): WaitingGpu[] => {
    const gone = replaced.get(gpu.uuid);
    return gone === undefined ? [] : [{ gpu: { ...gpu, index: takeFree(slots) }, slot: gone.index, formerly: gone.uuid }];
  });
  return {
    listed: { ...reading, gpus: [...cards.filter((card) => found.has(card.uuid)), ...waiting.map(({ gpu }) => gpu)] },
    cards: {
      present: reading.present || cards.length > 0,
      gpus: cards,
      ...(reading.unreachable === undefined ? {} : { unreachable: reading.unreachable }),
      ...(waiting.length === 0 ? {} : { waiting }),
    },
    takenOver: isOther ? all : [],
  };
}

/** The missing card that each new one stands for, by its UUID: that of the same place on the bus, else the next one. */
function pairReplacements(fresh: readonly Gpu[], missing: readonly Gpu[]): ReadonlyMap<string, Gpu> {
  const pairs = new Map<string, Gpu>();
  const left = new Set(missing);
  const pair = (gpu: Gpu, isLike: (gone: Gpu) => boolean): void => {
    // A part of a card stands for another part of it, and never for a card.
    const gone = [...left].find((card) => card.partOf === gpu.partOf && isLike(card));
    if (gone === undefined || pairs.has(gpu.uuid)) return;
    pairs.set(gpu.uuid, gone);
    left.delete(gone);
  };
  for (const gpu of fresh) pair(gpu, ({ pciBusId }) => pciBusId !== null && pciBusId === gpu.pciBusId);
  for (const gpu of fresh) pair(gpu, () => true);
  return pairs;
}

/** A card that does not answer does not tell these either, and an instance must not be changed for that. */
const withIdentity = (now: Gpu, before: Gpu): Gpu => ({
  ...now,
  name: before.name,
  pciBusId: now.pciBusId ?? before.pciBusId,
  memoryTotalBytes: now.memoryTotalBytes ?? before.memoryTotalBytes,
  driverVersion: now.driverVersion ?? before.driverVersion,
  computeMode: now.computeMode ?? before.computeMode,
  migMode: now.migMode ?? before.migMode,
  migDevices: now.migDevices.length > 0 ? now.migDevices : before.migDevices,
});

/** The number itself where it is free, else the lowest that is; taken from now on. */
function takeFree(taken: Set<number>, wanted = 0): number {
  let index = wanted;
  if (taken.has(index)) for (index = 0; taken.has(index); ) index++;
  taken.add(index);
  return index;
}

export interface Accepted {
  readonly cards: GpuReading;
  readonly listed: GpuReading;
  /** Missing cards whose slots are free from now on. */
  readonly forgotten: readonly Gpu[];
  /** Cards that got the slot of a missing one. */
  readonly replaced: readonly WaitingGpu[];
}

/** The number of cards is what it should be: missing ones are forgotten, and those that wait get their slots. */
export function acceptCards(cards: GpuReading, listed: GpuReading): Accepted {
  const replaced = cards.waiting ?? [];
  const slotOf = new Map(replaced.map(({ gpu, slot }) => [gpu.uuid, slot]));
  const isMissing = ({ state }: Gpu): boolean => state === 'missing';
  const gpus = [...cards.gpus.filter((gpu) => !isMissing(gpu)), ...replaced.map(({ gpu, slot }) => ({ ...gpu, index: slot }))];
  return {
    cards: { present: cards.present, gpus: gpus.sort((a, b) => a.index - b.index) },
    listed: { ...listed, gpus: listed.gpus.map((gpu) => ({ ...gpu, index: slotOf.get(gpu.uuid) ?? gpu.index })) },
    forgotten: cards.gpus.filter((gpu) => isMissing(gpu) && replaced.every(({ formerly }) => formerly !== gpu.uuid)),
    replaced,
  };
}

/** What is written down of them. */
export const rosterOf = ({ gpus }: GpuReading): readonly RosterCard[] =>
  gpus.map(({ index, uuid, name, pciBusId, memoryTotalBytes, driverVersion, computeMode, migMode, migDevices, partOf }) => ({
    slot: index,
    uuid,
    name,
    pciBusId,
    memoryTotalBytes,
    driverVersion,
    computeMode,
    migMode,
    migDevices,
    partOf,
  }));

/** Cards as an earlier agent left them, until the driver tells of them; unknown while none was ever seen. */
export function cardsOfRoster(roster: readonly RosterCard[], never: Observed<GpuReading>): Observed<GpuReading> {
  if (roster.length === 0) return never;
  const gpus = roster.map(({ slot, ...identity }): Gpu => ({ ...NOTHING_TOLD, ...identity, index: slot }));
  return known({ present: true, gpus: gpus.sort((a, b) => a.index - b.index) });
}

const NOTHING_TOLD = {
  driverIndex: null,
  memoryUsedBytes: null,
  temperatureC: null,
  utilisationPercent: null,
  state: 'unread',
  performanceState: null,
  powerDrawWatts: null,
  powerLimitWatts: null,
  throttle: { hardwareThermal: null, softwareThermal: null, powerBrake: null, powerCap: null },
  ecc: { uncorrectedVolatile: null, uncorrectedAggregate: null, retirementPending: null, remapPending: null, remapFailed: null },
  recoveryAction: null,
  processes: [],
} as const satisfies Partial<Gpu>;
