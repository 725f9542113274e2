import { z } from 'zod';
import type { AgentError } from './errors.ts';

/** How every error looks in an HTTP body and in `--json` output. */
export const ErrorDocument = z.object({
  error: z.object({
    /** A registered code (`domain/errors/errors.ts`). */
    code: z.string(),
    /** What happened, in the user's terms. */
    message: z.string(),
    /** What to do now. */
    help: z.string(),
    /** True when the same call may succeed later without anybody changing anything. */
    retryable: z.boolean(),
    details: z.record(z.string(), z.unknown()),
  }),
});
export type ErrorDocument = z.infer<typeof ErrorDocument>;

export const errorDocument = (error: AgentError): ErrorDocument => ({
  error: { code: error.code, message: error.message, help: error.help, retryable: error.retryable, details: { ...error.details } },
});
