import type { CleanupArea, Config, Layout } from '../../../domain/configuration/config.ts';
import type { CleanedArea } from '../../../domain/upkeep/cleanup.ts';
import type { Ports } from '../../../ports.ts';

export interface CleaningRequest {
  readonly dryRun: boolean;
  /** An installation is built: its caches and its release are not touched. */
  readonly installing: boolean;
  readonly signal: AbortSignal;
  readonly onProgress: (message: string, fraction: number) => void;
}

/** What the parts of a cleaning are given. */
export interface Cleaning extends CleaningRequest {
  readonly ports: Ports;
  readonly config: Config;
  readonly layout: Layout;
  readonly now: number;
  /** Bytes that this area should give because the disk is low, if it may; 0: it is not low. */
  readonly need: (area: CleanupArea) => number;
}

/** Why a directory is not entered: a link on the way to it leads to somebody else's files. */
export async function refusal({ ports, layout }: Pick<Cleaning, 'ports' | 'layout'>, directory: string): Promise<string | null> {
  const [root, real] = await Promise.all([ports.files.realPath(layout.root), ports.files.realPath(directory)]);
  if (real === null || root === null) return null;
  const expected = directory.startsWith(`${layout.root}/`) ? `${root}${directory.slice(layout.root.length)}` : null;
  return real === expected ? null : `it leads to ${real} through a link: not cleaned`;
}

export const emptyArea = (area: CleanedArea['area'], directory: string): CleanedArea => ({
  area,
  directory,
  found: { files: 0, bytes: 0 },
  removed: { files: 0, bytes: 0 },
  reasons: [],
  examples: [],
  problem: null,
});
