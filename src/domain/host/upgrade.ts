import { z } from 'zod';
import type { VersionDocument } from '../agent.ts';
import { Time } from '../observed.ts';
import type { StateVersion } from '../state/version.ts';

/** The program itself, replaced. */

const ProgramFacts = z.object({ agent: z.string(), commit: z.string().nullable(), node: z.string(), pm2: z.string(), sha256: z.string() });
export type ProgramFacts = z.infer<typeof ProgramFacts>;

/** Of root, on every machine: what root acts on lies where nobody else can write. The unit and the launcher name it too. */
export const UPGRADE_RECORDS = '/var/lib/comfylet-upgrade';
export const PENDING_UPGRADE = 'upgrade.json';
/** Below the state directory: the agent's word that a new program has proved itself. It can close an upgrade, and nothing else. */
export const UPGRADE_PROOF = 'upgrade-proof.json';
/** Where agents of version 0.1 kept the record: below the state directory, and their guards believe it. */
export const FORMER_PENDING_UPGRADE = 'upgrade.json';

/** The program before, kept beside the one in place. */
export const previousOf = (target: string): string => `${target}.previous`;

/**
 * What whoever finds a new program in place must know: which one was there before, and who watches over it. Written by root
 * before the program is replaced.
 */
export const PendingUpgrade = z.object({
  schema: z.literal(1),
  startedAt: Time,
  target: z.string(),
  from: ProgramFacts,
  to: ProgramFacts,
  /** The command that does it; while it lives, going back is its task. */
  by: z.object({ pid: z.int(), startTicks: z.string() }),
  /** How often the agent was started since, without a proof. */
  starts: z.int(),
});
export type PendingUpgrade = z.infer<typeof PendingUpgrade>;

/** Names the upgrade that it is the proof of. */
export const UpgradeProof = z.object({ schema: z.literal(1), startedAt: Time, sha256: z.string() });
export type UpgradeProof = z.infer<typeof UpgradeProof>;

export const proofOf = ({ startedAt, to }: PendingUpgrade): UpgradeProof => ({ schema: 1, startedAt, sha256: to.sha256 });

export const isProofOf = (proof: UpgradeProof | null, pending: PendingUpgrade): boolean =>
  proof !== null && proof.startedAt === pending.startedAt && proof.sha256 === pending.to.sha256;

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
  /**
   * What was kept beside `target` takes its place, if it is the program of that digest.
   * @throws AgentError UPGRADE_REFUSED when it is another one, or somebody else than root could have put it there
   */
  goBack(target: string, sha256: string): Promise<void>;
  remove(file: string): Promise<void>;
  /** @throws AgentError UPGRADE_REFUSED when anybody but root can replace the program, or a directory on the way to it */
  requireSafe(target: string): Promise<void>;
  /** @throws AgentError UPGRADE_REFUSED when the record is not of root, or says nothing that can be understood */
  pending(): Promise<PendingUpgrade | null>;
  /** null removes it. @throws AgentError UPGRADE_REFUSED when anybody but root could write there */
  savePending(pending: PendingUpgrade | null): Promise<void>;
  /** What the agent that owns that directory says of an upgrade. */
  proof(stateDirectory: string): Promise<UpgradeProof | null>;
  /** Of the state there; null: nothing was written yet. */
  stateVersion(stateDirectory: string): Promise<StateVersion | null>;
  /** Which process that is, and whether it lives. */
  own(): { readonly pid: number; readonly startTicks: string };
  lives(process: { readonly pid: number; readonly startTicks: string }): boolean;
}
