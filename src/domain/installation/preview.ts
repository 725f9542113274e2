import { z } from 'zod';
import { Hold } from '../hold.ts';
import { PackSpec, SourceSpec } from './release.ts';

/** `agent install --dry-run`: what an installation would be made of, without doing anything. */
export const InstallPreview = z.object({
  /** Why a new release would be built; null when the one in place is right. */
  need: z.string().nullable(),
  /** Release in place. */
  current: z.string().nullable(),
  source: SourceSpec.nullable(),
  packs: z.array(PackSpec.pick({ name: true, url: true, branch: true, commit: true, source: true })),
  python: z.object({ interpreter: z.string().nullable(), version: z.string().nullable(), torch: z.string() }).nullable(),
  /** What would keep it from beginning. */
  holds: z.array(Hold),
  warnings: z.array(z.string()),
});
export type InstallPreview = z.infer<typeof InstallPreview>;
