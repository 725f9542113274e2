const MEBIBYTE = 1024 * 1024;
/** An update brings new versions of few packages: a tenth of what a release shares with the caches is more than was seen. */
const CACHE_GROWTH = 0.1;

export interface DiskNeed {
  readonly bytes: number;
  /** For people: what it is made of. */
  readonly because: string;
}

/**
 * What a new release may take: as much of its own as the one before has (what is hard-linked from the caches costs nothing
 * twice), a tenth of what that shares with the caches for what they will have to fetch, and the spare that is always kept.
 * A simple estimate, known before anything is resolved. Of a first release nothing is known but the spare.
 * @param previous disk use of the release before; null: there is none
 */
export function diskNeed(previous: { readonly bytes: number; readonly ownBytes: number } | null, spareMb: number): DiskNeed {
  const spare = spareMb * MEBIBYTE;
  if (previous === null) return { bytes: spare, because: `an installation is not begun below ${spareMb} MiB` };
  const growth = Math.round((previous.bytes - previous.ownBytes) * CACHE_GROWTH);
  return {
    bytes: previous.ownBytes + growth + spare,
    because: `a new release takes about ${mebibytes(previous.ownBytes)} as the one before, caches may grow by ${mebibytes(growth)}, and ${spareMb} MiB stay free`,
  };
}

/**
 * What taking in a bundle may need: its members once more while they are verified, and as much again for the mirrors,
 * caches and models that they go to.
 */
export const bundleNeed = (bundleBytes: number, spareMb: number): DiskNeed => ({
  bytes: 2 * bundleBytes + spareMb * MEBIBYTE,
  because: `a bundle of ${mebibytes(bundleBytes)} takes up to twice that while it is taken in, and ${spareMb} MiB stay free`,
});

export const mebibytes = (bytes: number): string => `${Math.round(bytes / MEBIBYTE)} MiB`;
