/**
 * Polls until `look` gives a value other than null, undefined or false; throws with the last error or `what` at the limit.
 * The limit is a bound for a broken program, not an expected duration.
 */
export async function eventually<T>(
  what: string,
  look: () => T | Promise<T>,
  limitMs = 10_000,
): Promise<Exclude<T, null | undefined | false>> {
  const end = performance.now() + limitMs;
  for (;;) {
    let cause: unknown;
    try {
      const value = await look();
      if (value !== null && value !== undefined && value !== false) return value as Exclude<T, null | undefined | false>;
    } catch (error) {
      cause = error;
    }
    if (performance.now() >= end) throw new Error(`not within ${limitMs} ms: ${what}`, { cause });
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}
