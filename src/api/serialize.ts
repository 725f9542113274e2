/**
 * JSON of a document, made once for each object: the agent's documents are immutable snapshots that many requests share,
 * so that a probe answer costs a map look-up. An object that is changed after its first answer would be served stale.
 */
export type Serialize = (document: unknown) => string;

export function createSerializer(): Serialize {
  const texts = new WeakMap<object, string>();
  return (document) => {
    if (document === null || typeof document !== 'object') return JSON.stringify(document ?? null);
    const known = texts.get(document);
    if (known !== undefined) return known;
    const text = JSON.stringify(document);
    texts.set(document, text);
    return text;
  };
}
