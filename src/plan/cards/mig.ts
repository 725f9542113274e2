import type { Gpu, GpuReading, MigDevice } from '../../domain/cards/gpu.ts';
import type { Config } from '../../domain/configuration/config.ts';
import { known, type Observed } from '../../domain/observed.ts';

/**
 * Divided cards as the instances see them. With `first` a card has one instance, on its first MIG device. With `all` each further device
 * is a card of its own, numbered after all cards: so the first device of a card keeps slot, port and folders of the card, and the setting
 * can be changed to and fro without an instance losing its own.
 */
export function divideCards(reading: GpuReading, mig: Config['gpu']['mig']): GpuReading {
  if (mig === 'first' || reading.gpus.every(({ migDevices }) => migDevices.length < 2)) return reading;
  const first = reading.gpus.map((gpu) => (gpu.migDevices.length < 2 ? gpu : { ...partOf(gpu, gpu.migDevices[0]), index: gpu.index }));
  const last = Math.max(...reading.gpus.map(({ index }) => index));
  const further = reading.gpus
    .flatMap((gpu) => gpu.migDevices.slice(1).map((device) => ({ ...partOf(gpu, device), uuid: device.uuid, partOf: gpu.uuid })))
    .map((gpu, position) => ({ ...gpu, index: last + 1 + position }));
  return { ...reading, gpus: [...first, ...further] };
}

/** Parts of cards are no cards while only the first of each is used: none of them is missed then. */
export const keptParts = (before: Observed<GpuReading>, mig: Config['gpu']['mig']): Observed<GpuReading> =>
  mig === 'all' || !before.known ? before : known({ ...before.value, gpus: before.value.gpus.filter((gpu) => gpu.partOf === null) });

/** What the driver measures of a whole card says nothing about a part of it. Its sensors and errors are those of all parts. */
function partOf(gpu: Gpu, device: MigDevice | undefined): Gpu {
  return {
    ...gpu,
    name: device?.profile == null ? gpu.name : `${gpu.name} MIG ${device.profile}`,
    migDevices: device === undefined ? [] : [device],
    memoryTotalBytes: null,
    memoryUsedBytes: null,
    utilisationPercent: null,
    // A process that is listed under the card may be in any of its parts.
    processes: gpu.processes.filter(({ migDevice }) => migDevice !== null && migDevice === device?.uuid),
  };
}

/** MIG devices that no instance uses because only the first of a card is used. For people: no card has a slot for them. */
export const unusedParts = (gpu: Gpu, used: string | null): readonly Gpu[] =>
  gpu.migDevices.length < 2
    ? []
    : gpu.migDevices.filter(({ uuid }) => uuid !== used).map((device) => ({ ...partOf(gpu, device), uuid: device.uuid, partOf: gpu.uuid }));
