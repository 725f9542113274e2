import { isAgentError } from '../domain/errors/errors.ts';
import { known, type Observed, unknown } from '../domain/observed.ts';

/** Asks, and turns a refusal into "unknown" with its reason and its help. */
export async function ask<T>(question: () => Promise<T>): Promise<Observed<T>> {
  try {
    return known(await question());
  } catch (error) {
    if (isAgentError(error)) return unknown(error.message, error.help);
    return unknown(error instanceof Error ? error.message : String(error));
  }
}
