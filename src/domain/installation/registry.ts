/** What the Comfy Registry says of one version of a pack. */

export interface RegistryRequest {
  /** packs.registryUrl */
  readonly registryUrl: string;
  readonly id: string;
  /** null: the newest that is active. */
  readonly version: string | null;
}

export interface RegistryVersion {
  readonly version: string;
  /** Of the zip; null when the registry names none. */
  readonly url: string | null;
  /** active, pending, flagged, banned, deleted or unknown. */
  readonly status: string;
  readonly statusReason: string | null;
}
