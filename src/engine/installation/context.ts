import type { GpuReading } from '../../domain/cards/gpu.ts';
import type { Config, Layout, Secrets } from '../../domain/configuration/config.ts';
import type { Lock, Moves } from '../../domain/installation/lock.ts';
import type { InstallationSpec, Release } from '../../domain/installation/release.ts';
import type { Pins } from '../../plan/installation/lock.ts';
import type { LocalWheels } from '../../ports/python.ts';
import type { Ports } from '../../ports.ts';
import type { RequiredModel } from '../knowledge.ts';
import type { InstallTracker } from './progress.ts';

/** What every step of an installation is given. */
export interface InstallContext {
  readonly ports: Ports;
  readonly config: Config;
  readonly layout: Layout;
  readonly secrets: Secrets;
  readonly spec: InstallationSpec;
  readonly specDigest: string;
  /** Environment of each pack as written; the spec has no literal values. */
  readonly packEnvironments: ReadonlyMap<string, Readonly<Record<string, string>>>;
  readonly releaseId: string;
  /** Where the release is built: its final path, because a virtual environment cannot be moved. */
  readonly directory: string;
  /** Release in place. */
  readonly previous: Release | null;
  /** The lock as it was, and what of it this installation keeps to. */
  readonly lock: Lock | null;
  readonly pins: Pins;
  readonly moves: Moves;
  /** Of an offline bundle: the only source of packages; null: the indexes are. */
  readonly wheels: LocalWheels | null;
  /** Refuse whatever the lock does not say. */
  readonly locked: boolean;
  /** Files that must be in the models directory. */
  readonly requiredModels: readonly RequiredModel[];
  /** Cards as last read; decides the torch build. */
  readonly gpus: GpuReading | null;
  /** Card free for the trial start: value of CUDA_VISIBLE_DEVICES; null: prove on the CPU. */
  readonly trialDevice: string | null;
  readonly modelPathsFile: string;
  /** Environment names an instance inherits. */
  readonly inherited: Readonly<Record<string, string>>;
  readonly tracker: InstallTracker;
  readonly signal: AbortSignal;
  /** Makes the release current and has the instances follow. */
  readonly activate: (releaseId: string) => Promise<void>;
}

export const checkoutOf = (context: InstallContext): string => `${context.directory}/ComfyUI`;
export const packDirectory = (context: InstallContext, name: string): string => `${checkoutOf(context)}/custom_nodes/${name}`;

/** How far a pack has come. */
export const stateOf = (context: InstallContext, name: string): string | undefined =>
  context.tracker.progress.packs.find((pack) => pack.name === name)?.state;

/**
 * Runs `work` over all items, at most `limit` at once, in order of the list. After a rejection no more is begun, and the
 * whole rejects once what had begun has ended.
 */
export async function forEachLimited<T>(items: readonly T[], limit: number, work: (item: T) => Promise<void>): Promise<void> {
  const queue = [...items];
  const worker = async (): Promise<void> => {
    try {
      for (let item = queue.shift(); item !== undefined; item = queue.shift()) await work(item);
    } catch (error) {
      queue.length = 0;
      throw error;
    }
  };
  const ends = await Promise.allSettled(Array.from({ length: Math.min(limit, items.length) }, worker));
  const failed = ends.find((end) => end.status === 'rejected');
  if (failed !== undefined) throw failed.reason;
}
