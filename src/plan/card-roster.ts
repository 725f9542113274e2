import type { Gpu, GpuReading } from '../domain/gpu.ts';
import type { Observed } from '../domain/observed.ts';

/**
 * Which card is which, for as long as the agent runs. nvidia-smi numbers the cards that are left anew when one falls off the
 * bus: an instance would change its card, and the one of the lost card would seem unwanted. So a card keeps the number under
 * which it was first seen, and one that is gone keeps its place.
 */
export interface Roster {
  /** The newest answer, each card under its own number. */
  readonly listed: GpuReading;
  /** All cards that were ever seen; those that are gone are `lost`, as they were last seen. */
  readonly cards: GpuReading;
}

export function updateRoster(before: Observed<GpuReading>, reading: GpuReading): Roster {
  const old = before.known ? before.value.gpus : [];
  const found = new Map(reading.gpus.map((gpu) => [gpu.uuid, gpu]));
  const kept = old.map((card): Gpu => {
    const now = found.get(card.uuid);
    if (now === undefined) return { ...card, state: 'lost', processes: [] };
    return { ...(now.state === 'ok' ? now : withIdentity(now, card)), index: card.index };
  });
  const taken = new Set(kept.map((card) => card.index));
  const added = reading.gpus
    .filter((gpu) => old.every((card) => card.uuid !== gpu.uuid))
    .map((gpu): Gpu => {
      const index = taken.has(gpu.index) ? firstFree(taken) : gpu.index;
      taken.add(index);
      return { ...gpu, index };
    });
  const cards = [...kept, ...added].sort((a, b) => a.index - b.index);
  return {
    listed: { ...reading, gpus: cards.filter((card) => found.has(card.uuid)) },
    cards: { present: reading.present || cards.length > 0, gpus: cards },
  };
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

function firstFree(taken: ReadonlySet<number>): number {
  let index = 0;
  while (taken.has(index)) index++;
  return index;
}
