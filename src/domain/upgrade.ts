import { z } from 'zod';
import type { VersionDocument } from './agent.ts';
import { Time } from './observed.ts';
import type { StateVersion } from './state-version.ts';

/** The program itself, replaced. */

const ProgramFacts = z.object({ agent: z.string(), commit: z.string().nullable(), node: z.string(), pm2: z.string(), sha256: z.string() });
export type ProgramFacts = z.infer<typeof ProgramFacts>;

/** File below the state directory while the new program has not proved itself. */
export const PENDING_UPGRADE = 'upgrade.json';

/**
 * What whoever finds a new program in place must know: where the old one is, and who watches over it. Written before the
 * program is replaced, removed by the new agent when it has proved itself.
 */
export const PendingUpgrade = z.object({
  schema: z.literal(1),
  startedAt: Time,
  target: z.string(),
  previous: z.string(),
  from: ProgramFacts,
  to: ProgramFacts,
  /** The command that does it; while it lives, going back is its task. */
  by: z.object({ pid: z.int(), startTicks: z.string() }),
  /** How often the agent was started since, without a proof. */
  starts: z.int(),
});
export type PendingUpgrade = z.infer<typeof PendingUpgrade>;

/** `agent upgrade --json`. */
export const UpgradeDocument = z.object({
  target: z.string(),
  from: ProgramFacts,
  to: ProgramFacts,
  /** False with --dry-run, and when it was in place already. */
  done: z.boolean(),
  notes: z.array(z.string()),
  /** Instances by what the upgrade did to them; null: no agent ran. */
  instances: z.object({ kept: z.array(z.string()), restarted: z.array(z.string()) }).nullable(),
  /** Time in which the agent did not answer. */
  awayMs: z.int().nullable(),
});
export type UpgradeDocument = z.infer<typeof UpgradeDocument>;

/** `agent upgrade --pm2 --json` without a file. */
export const Pm2MoveDocument = z.object({
  program: ProgramFacts.pick({ agent: true, node: true, pm2: true }),
  /** False with --dry-run. */
  done: z.boolean(),
  /** Of the instances that were restarted, or would be. */
  gpus: z.array(z.int()),
});
export type Pm2MoveDocument = z.infer<typeof Pm2MoveDocument>;

/** Files that are this program, or are to take its place. */
export interface Programs {
  /**
   * A copy beside `target`, from a path or an http(s) URL, that nobody else can run or change yet.
   * @throws AgentError BINARY_INVALID when it is too large, FILE_NOT_FOUND, PREFIX_NOT_WRITABLE, DISK_FULL, COMMAND_FAILED, INTERRUPTED
   */
  bring(
    source: string,
    target: string,
    options: { readonly signal: AbortSignal; readonly onProgress: (bytes: number, totalBytes: number | null) => void },
  ): Promise<{ readonly file: string; readonly sha256: string; readonly bytes: number }>;
  /** A small file (a signature) from a path or URL. Same errors. */
  bytes(source: string, signal: AbortSignal): Promise<Uint8Array>;
  sha256(file: string): Promise<string>;
  /** What it says of itself. @throws AgentError BINARY_INVALID when it is cut off, for another processor, or not the agent */
  inspect(file: string): Promise<VersionDocument>;
  /** `previous` becomes the program in place, then `fresh` takes its place. At every instant `target` is one of them, whole. */
  replace(target: string, fresh: string, previous: string): Promise<void>;
  /** `previous` takes the place of `target`. */
  goBack(target: string, previous: string): Promise<void>;
  remove(file: string): Promise<void>;
  pending(stateDirectory: string): Promise<PendingUpgrade | null>;
  /** null removes it. The directory's owner owns the file. */
  savePending(stateDirectory: string, pending: PendingUpgrade | null): Promise<void>;
  /** Of the state there; null: nothing was written yet. */
  stateVersion(stateDirectory: string): Promise<StateVersion | null>;
  /** Which process that is, and whether it lives. */
  own(): { readonly pid: number; readonly startTicks: string };
  lives(process: { readonly pid: number; readonly startTicks: string }): boolean;
}
