import { z } from 'zod';

/** In the state directory. */
export const STATE_VERSION_FILE = 'version.json';

export const StateVersion = z.object({
  /** Of the newest agent that wrote there. */
  version: z.int(),
  /** The oldest that may read it: behind `version` until the newer one has proved itself. */
  minimum: z.int(),
  /** Of the agent that wrote there last: an older one that was gone back to adds in its own way. */
  writer: z.int(),
});
export type StateVersion = z.infer<typeof StateVersion>;
