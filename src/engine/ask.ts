import { known, type Observed, unknown } from '../domain/observed.ts';

/** Asks, and turns a refusal into "unknown" with its reason. */
export async function ask<T>(question: () => Promise<T>): Promise<Observed<T>> {
  try {
    return known(await question());
  } catch (error) {
    return unknown(error instanceof Error ? error.message : String(error));
  }
}
