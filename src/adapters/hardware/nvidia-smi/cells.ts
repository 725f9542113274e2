import type { Gpu } from '../../../domain/cards/gpu.ts';

/** What stands in the cells of nvidia-smi's tables, as facts. Pure; what a card, a driver or the rights do not tell is null. */

const MEBIBYTE = 1024 * 1024;

/** "[N/A]", "[Not Supported]", "[Insufficient Permissions]", "[Unknown Error]", "[GPU requires reset]", "N/A", "ERR!", …: not told. */
export function told(cell: string | undefined): string | null {
  const value = cell?.trim() ?? '';
  return value === '' || /^(N\/A|ERR!|Unknown Error|Not Supported)$/.test(value) || /^\[.*\]$/.test(value) ? null : value;
}

export function toNumber(cell: string | undefined): number | null {
  const value = Number(told(cell) ?? Number.NaN);
  return Number.isFinite(value) ? value : null;
}

/** Also where units were printed all the same ("512 MiB"). */
export function toBytes(cell: string | undefined): number | null {
  const mebibytes = toNumber(cell?.replace(/(?<!\s)\s*MiB\s*$/, ''));
  return mebibytes === null ? null : Math.round(mebibytes * MEBIBYTE);
}

export const toWatts = (cell: string | undefined): number | null => toNumber(cell?.replace(/(?<!\s)\s*W\s*$/, ''));

export function toCount(cell: string | undefined): number | null {
  const value = toNumber(cell);
  return value !== null && Number.isInteger(value) ? value : null;
}

/** "Yes" and "No"; R4xx prints 1 and 0 for some. */
export function toBoolean(cell: string | undefined): boolean | null {
  const value = told(cell)?.toLowerCase();
  return value === 'yes' || value === '1' ? true : value === 'no' || value === '0' ? false : null;
}

/** Bits of nvmlClocksEventReasons (nvml.h). 0x8, hardware slowdown without a cause, comes with changes of the clocks too. */
const EVENT_BITS = { powerCap: 0x4, softwareThermal: 0x20, hardwareThermal: 0x40, powerBrake: 0x80 } as const;

export function toThrottle(cell: string | undefined): Gpu['throttle'] {
  const text = told(cell);
  const bits = text !== null && /^0x[0-9a-f]{1,16}$/i.test(text) ? Number(text) : null;
  const has = (bit: number): boolean | null => (bits === null ? null : Math.floor(bits / bit) % 2 === 1);
  return {
    hardwareThermal: has(EVENT_BITS.hardwareThermal),
    softwareThermal: has(EVENT_BITS.softwareThermal),
    powerBrake: has(EVENT_BITS.powerBrake),
    powerCap: has(EVENT_BITS.powerCap),
  };
}

/** A card that is lost still has a line: the words stand in its cells. */
export function toState(cells: readonly string[]): Gpu['state'] {
  const says = (words: string): boolean => cells.some((cell) => cell.trim().toLowerCase() === words);
  return says('[gpu is lost]') ? 'lost' : says('[gpu requires reset]') ? 'reset-required' : 'ok';
}
