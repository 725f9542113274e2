import { z } from 'zod';

/** `agent config check`: every file an operator writes, with all its problems. */
export const ConfigCheckDocument = z.object({
  ok: z.boolean(),
  files: z.array(
    z.object({
      path: z.string(),
      /** absent is fine: defaults hold. */
      state: z.enum(['ok', 'absent', 'bad']),
      /** One line each: file, line, key, what was found and what is allowed. */
      problems: z.array(z.string()),
      warnings: z.array(z.string()),
    }),
  ),
});
export type ConfigCheckDocument = z.infer<typeof ConfigCheckDocument>;
