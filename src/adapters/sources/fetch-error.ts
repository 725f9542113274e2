import { AgentError, isAgentError } from '../../domain/errors/errors.ts';

/** A failed download in the terms of a pack's source: not there (or not for us), or not to be had now. */
export function fetchError(error: unknown, missing: string): unknown {
  if (!isAgentError(error) || error.code !== 'COMMAND_FAILED') return error;
  const status = Number(error.details['status']);
  const { message, details, cause } = error;
  if ([401, 403, 404, 410].includes(status)) return new AgentError('SOURCE_NOT_FOUND', `${missing}: ${message}`, { details, cause });
  if (/ is larger than \d+ bytes$/.test(message)) return new AgentError('SOURCE_REFUSED', message, { details, cause });
  return new AgentError('SOURCE_UNREACHABLE', message, { details, cause });
}
