import { z } from 'zod';

/** A package that the program is made of, with the text of its licence (empty: it ships none beside the name). */
export const ThirdParty = z.object({ name: z.string(), version: z.string(), licence: z.string(), text: z.string() });
export type ThirdParty = z.infer<typeof ThirdParty>;
