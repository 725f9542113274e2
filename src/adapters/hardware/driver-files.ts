import { readdir, readFile } from 'node:fs/promises';
import { type Gpu, normalPciBusId } from '../../domain/cards/gpu.ts';

/** What names a card before nvidia-smi does. */
export type CardName = Pick<Gpu, 'uuid' | 'pciBusId'>;

/**
 * Cards by the driver's own files (/proc/driver/nvidia/gpus/<address>/information), in order of their addresses. A card that
 * did not come up has question marks for a UUID: it is left out, as is whatever cannot be read.
 */
export async function cardsOfDriver(procRoot: string): Promise<readonly CardName[]> {
  const directory = `${procRoot}/driver/nvidia/gpus`;
  const places = await readdir(directory).catch(() => []);
  const found = places.sort().map(async (place): Promise<CardName[]> => {
    const text = await readFile(`${directory}/${place}/information`, 'utf8').catch(() => '');
    const uuid = /^GPU UUID:\s*(GPU-[0-9a-f-]{8,64})\s*$/im.exec(text)?.[1];
    return uuid === undefined ? [] : [{ uuid, pciBusId: normalPciBusId(place) }];
  });
  return (await Promise.all(found)).flat();
}
