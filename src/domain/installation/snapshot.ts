import { z } from 'zod';

/** Snapshots of ComfyUI-Manager and of Comfy Desktop 2: what they say of an installation, and what they leave out. */

export const SnapshotFormat = z.enum(['manager', 'desktop']);
export type SnapshotFormat = z.infer<typeof SnapshotFormat>;

/** An entry of config_nodes.json. */
export const SnapshotPack = z.object({
  name: z.string(),
  url: z.string().optional(),
  commit: z.string().optional(),
  recursive: z.literal(true).optional(),
  registry: z.string().optional(),
  version: z.string().optional(),
});
export type SnapshotPack = z.infer<typeof SnapshotPack>;

/** `agent import FILE`. */
export const SnapshotImport = z.object({
  format: SnapshotFormat,
  comfyui: z.object({ repository: z.string(), commit: z.string().nullable() }),
  packs: z.array(SnapshotPack),
  /** What the snapshot does not record, and what stands in its place. */
  filledIn: z.array(z.string()),
  /** What it records and nothing is made of, with the reason. */
  leftOut: z.array(z.string()),
  /** Files that were written. */
  written: z.array(z.string()),
  /** Lines for the configuration that are left to the operator, because there is one already. */
  settings: z.array(z.string()),
});
export type SnapshotImport = z.infer<typeof SnapshotImport>;

/** `agent export --format …`. */
export const SnapshotExport = z.object({
  format: SnapshotFormat,
  release: z.string(),
  snapshot: z.record(z.string(), z.unknown()),
  leftOut: z.array(z.string()),
  /** The file that was written; null: it was printed. */
  file: z.string().nullable(),
});
export type SnapshotExport = z.infer<typeof SnapshotExport>;
